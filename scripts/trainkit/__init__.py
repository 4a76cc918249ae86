"""The library behind the workflow's programs: training, measuring, comparing.

It knows nothing of Snakemake. What the Snakefile imports of it is free of torch, which takes a second.
"""
