"""The library behind the workflow's programs: training, measuring, comparing.

It knows nothing of Snakemake. Nothing here imports torch until a program needs it.
"""
