"""
How often the visible patches of each channel group fall on the parts of the face, against chance.

A patch is on a region where it holds at least one of the region's landmarks. Coverage of an image by a group is the
share of its visible patches on the region. Chance is the share of all its patches on the region, which a mask drawn
uniformly shows on average. The ratio of the two is 1 for such a mask.

Legend: N images, G channel groups, L patches in row-major order, V visible ones, K regions (REGION_NAMES).
"""

from pathlib import Path

import numpy as np

from training.fer_metrics.fer_metrics import bootstrap_interval
from training.measuring.landmark_errors import REGIONS
from training.runtime.run_folder import replaced

ANY = "any landmark"
REGION_NAMES = (*REGIONS, ANY)
MOST_DRAWN = 16


def patches_on_regions(points: np.ndarray, grid: int) -> np.ndarray:
    """
    Args:
        points: (N, 68, 2), fractions of width and height; points outside are on no patch. grid: patches a side.
    Returns:
        (N, K, L) bool.
    """
    inside = ((points >= 0) & (points <= 1)).all(2)
    columns, rows = np.minimum(np.floor(points * grid), grid - 1).astype(int).transpose(2, 0, 1)  # 1.0: the last
    holds = np.zeros((len(points), points.shape[1], grid * grid), dtype=bool)
    image, point = np.nonzero(inside)
    holds[image, point, rows[inside] * grid + columns[inside]] = True
    regions = [holds[:, where].any(1) for where in REGIONS.values()]
    return np.stack([*regions, holds.any(1)], axis=1)


def coverage(visible: np.ndarray, on: np.ndarray, people: np.ndarray) -> dict:
    """
    Args:
        visible: (N, G, L) bool. on: (N, K, L) bool. people: (N,).
    Returns:
        overall, and groups (a list): see `describe`; overall is the mean over the groups of each image.
        entropy_of_chance: of a uniform distribution over the patches.
    """
    shares = np.einsum("ngl,nkl->ngk", visible.astype(float), on.astype(float)) / visible[0, 0].sum()
    chance = on.mean(2)  # (N, K)
    groups = [
        {"group": group, **describe(shares[:, group], chance, people), "entropy": entropy(visible[:, group].mean(0))}
        for group in range(visible.shape[1])
    ]
    overall = {**describe(shares.mean(1), chance, people), "entropy": entropy(visible.mean((0, 1)))}
    return {"overall": overall, "groups": groups, "entropy_of_chance": float(np.log(visible.shape[2]))}


def describe(shares: np.ndarray, chance: np.ndarray, people: np.ndarray) -> dict:
    """
    Args:
        shares: of the visible patches on each region, (N, K). chance: of all patches, (N, K). people: (N,).
    Returns:
        regions, by name: share and chance (means over images), ratio (mean over images of share / chance) and
        ratio_interval [low, high], 95 %, drawn by person; None where no image has a patch on the region. An image
        without one says nothing about the ratio and is left out of it.
    """
    regions = {}
    for number, name in enumerate(REGION_NAMES):
        known = chance[:, number] > 0
        ratios = shares[known, number] / chance[known, number]
        regions[name] = {
            "share": float(shares[:, number].mean()),
            "chance": float(chance[:, number].mean()),
            "ratio": float(ratios.mean()) if known.any() else None,
            "ratio_interval": bootstrap_interval(ratios, people[known]) if known.any() else None,
        }
    return {"regions": regions}


def entropy(frequencies: np.ndarray) -> float:
    """Of the places of the visible patches, (L,), in nats: log V where they never move, log L where all are alike."""
    shares = frequencies / frequencies.sum()
    return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


def draw_coverage(path: Path, visible: np.ndarray, points: np.ndarray, found: dict) -> None:
    """
    A .png: for up to 16 groups how often each patch is visible, with the mean landmarks; below, every region's ratio.

    Args:
        visible: (N, G, L) bool. points: (N, 68, 2). found: see `coverage`.
    """
    from matplotlib.figure import Figure  # drawn by Agg: no display is asked for

    frequencies, mean_points = visible.mean(0), points.mean(0)  # (G, L), (68, 2)
    grid, num_drawn = round(visible.shape[2] ** 0.5), min(visible.shape[1], MOST_DRAWN)
    columns = min(num_drawn, 8)
    rows = -(-num_drawn // columns)
    width = max(7.0, 1.6 * columns)
    figure = Figure(figsize=(width, 1.8 * rows + 3.6), layout="constrained")
    halves = figure.add_gridspec(2, 1, height_ratios=(1.8 * rows, 3.6))
    maps, bars = figure.add_subfigure(halves[0, 0]), figure.add_subfigure(halves[1, 0])
    axes = maps.subplots(rows, columns, squeeze=False).ravel()
    for group, place in enumerate(axes):
        place.set_axis_off()
        if group < num_drawn:
            frequency = frequencies[group].reshape(grid, grid)
            shown = place.imshow(frequency, vmin=0, vmax=1, extent=(0, 1, 1, 0), interpolation="nearest")
            place.scatter(*mean_points.T, s=2, color="white")
            place.set_title(f"group {group}", fontsize=8)
    maps.colorbar(shown, ax=axes.tolist(), label="share of the images", fraction=0.02)
    maps.suptitle(f"Visible patches of {num_drawn} of {visible.shape[1]} groups, and the mean landmarks", fontsize=9)
    draw_ratios(bars.subplots(), found)
    with replaced(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def draw_ratios(axes, found: dict) -> None:
    """A bar a region: the mean over the groups with its interval; each group as a point; chance as a line at 1."""
    for place, name in enumerate(REGION_NAMES):
        region = found["overall"]["regions"][name]
        if region["ratio"] is None:
            continue
        low, high = region["ratio_interval"]
        ratio = region["ratio"]
        axes.bar(place, ratio, color="C0", alpha=0.6)
        axes.errorbar(place, ratio, yerr=[[max(0, ratio - low)], [max(0, high - ratio)]], color="black", capsize=4)
        of_groups = [group["regions"][name]["ratio"] for group in found["groups"]]
        axes.scatter(np.linspace(place - 0.3, place + 0.3, len(of_groups)), of_groups, s=8, color="C1", zorder=3)
    axes.axhline(1, color="gray", linestyle="--", linewidth=1)
    axes.set_xticks(range(len(REGION_NAMES)), REGION_NAMES)
    axes.set_ylabel("visible patches on it, over chance")
    axes.set_title("Bars: all groups, 95 % interval by person. Points: each group. Dashed: a uniform mask", fontsize=9)
