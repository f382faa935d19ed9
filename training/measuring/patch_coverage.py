"""
How often the visible patches of each channel group fall on the parts of the face, against chance.

A patch is on a region where it holds at least one of the region's landmarks. Coverage of an image by a group is the
share of its visible patches on the region. Chance is the share of all its patches on the region, which a mask drawn
uniformly shows on average. The ratio of the two is 1 for such a mask.

Legend: N images, G channel groups, L patches in row-major order, V visible ones, K regions (REGION_NAMES).
"""

from pathlib import Path

import numpy as np
import scipy.stats

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
        groups (a list) and overall (of each image's mean over the groups): entropy, and see `describe`;
        entropy_of_chance, that of a uniform distribution over the patches.
    """
    shares = np.einsum("ngl,nkl->ngk", visible.astype(float), on.astype(float)) / visible[0, 0].sum()
    chance = on.mean(2)  # (N, K)
    groups = [
        {
            "group": group,
            "regions": describe(shares[:, group], chance, people),
            "entropy": entropy(visible[:, group].mean(0)),
        }
        for group in range(visible.shape[1])
    ]
    overall = {"regions": describe(shares.mean(1), chance, people), "entropy": entropy(visible.mean((0, 1)))}
    return {"overall": overall, "groups": groups, "entropy_of_chance": float(np.log(visible.shape[2]))}


def describe(shares: np.ndarray, chance: np.ndarray, people: np.ndarray) -> dict:
    """
    Args:
        shares: of the visible patches on each region, (N, K). chance: of all patches, (N, K). people: (N,).
    Returns:
        By region: share and chance (means over images), ratio (mean over images of share / chance) and its 95 %
        ratio_interval [low, high], drawn by person. Images without a patch on the region do not count in the ratio;
        ratio and interval are None where no image has one.
    """
    regions = {}
    for name, share, by_chance in zip(REGION_NAMES, shares.T, chance.T):
        has_region = by_chance > 0
        ratios = share[has_region] / by_chance[has_region]
        regions[name] = {
            "share": float(share.mean()),
            "chance": float(by_chance.mean()),
            "ratio": float(ratios.mean()) if has_region.any() else None,
            "ratio_interval": bootstrap_interval(ratios, people[has_region]) if has_region.any() else None,
        }
    return regions


def entropy(frequencies: np.ndarray) -> float:
    """Entropy, in nats, of the patches' frequencies (L,): log V for always the same V, log L for L equal ones."""
    return float(scipy.stats.entropy(frequencies))


def draw_coverage(path: Path, visible: np.ndarray, points: np.ndarray) -> None:
    """
    A .png: how often each patch is visible, for up to 16 groups, with the mean landmarks.

    Args:
        visible: (N, G, L) bool. points: (N, 68, 2).
    """
    from matplotlib.figure import Figure  # drawn by Agg: no display is asked for

    frequencies, mean_points = visible.mean(0), points.mean(0)  # (G, L), (68, 2)
    grid, num_drawn = round(visible.shape[2] ** 0.5), min(visible.shape[1], MOST_DRAWN)
    columns = min(num_drawn, 8)
    rows = -(-num_drawn // columns)
    figure = Figure(figsize=(max(7.0, 1.6 * columns), 1.8 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw={"frame_on": False, "xticks": [], "yticks": []})
    for group, axis in enumerate(axes.flat[:num_drawn]):
        frequency = frequencies[group].reshape(grid, grid)
        shown = axis.imshow(frequency, vmin=0, vmax=1, extent=(0, 1, 1, 0), interpolation="nearest")
        axis.scatter(*mean_points.T, s=2, color="white")
        axis.set_title(f"group {group}", fontsize=8)
    figure.colorbar(shown, ax=axes, label="share of the images", fraction=0.02)
    figure.suptitle(f"Visible patches of {num_drawn} of {visible.shape[1]} groups, and the mean landmarks", fontsize=9)
    with replaced(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
