"""The workflow's rules, and which needs which."""

import matplotlib
import networkx as nx
from matplotlib.figure import Figure

matplotlib.use("agg")
import matplotlib.pyplot as plt

plt.rcParams["svg.hashsalt"] = "study"  # the same graph gives the same bytes


def draw(jobs: dict[str, int], needs: dict[str, list[str]]) -> Figure:
    """The rules from left to right, with their number of jobs; what follows from other lines is left out."""
    whole = nx.DiGraph(
        [(needed, rule) for rule, others in needs.items() for needed in others if needed != rule]
    )
    whole.add_nodes_from(jobs)
    graph = nx.transitive_reduction(whole)
    layers = list(nx.topological_generations(graph))
    tall = max(len(layer) for layer in layers)
    places: dict[str, tuple[float, float]] = {}
    for x, layer in enumerate(layers):
        # Each rule beside the mean of what it needs, so that fewer arrows cross.
        heights = {rule: [places[other][1] for other in graph.predecessors(rule)] for rule in layer}
        layer = sorted(layer, key=lambda rule: (sum(heights[rule]) / max(len(heights[rule]), 1), rule))
        for row, rule in enumerate(layer):
            places[rule] = x, (row + 0.5) * tall / len(layer)
    figure, ax = plt.subplots(figsize=(1.55 * len(layers), 0.42 * tall + 0.4), layout="constrained")
    for rule, (x, y) in places.items():
        times = f" × {jobs[rule]}" if jobs.get(rule, 1) > 1 else ""
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "#0173b2"}
        ax.text(x, y, f"{rule}{times}", ha="center", va="center", fontsize=8, bbox=box, zorder=2)
    for one, other in graph.edges:
        ax.plot(*zip(places[one], places[other], strict=True), color="#555555", alpha=0.5, lw=0.8, zorder=1)
    ax.set_xlim(-0.5, len(layers) - 0.5)
    ax.set_ylim(tall, 0)
    ax.set_axis_off()
    return figure
