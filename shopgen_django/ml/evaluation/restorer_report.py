"""``report.html`` of a denoiser: figures at each level of noise, and what it made of some pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .report import page, picture_sheet, table
from .restoring import Restored, add_noise, restored_pictures

SHOWN = 8


def write_restorer_report(
    model: str, found: Sequence[Restored], restore: Callable[[Image.Image], Image.Image], clean: NDArray[np.uint8],
    *, seed: int, held_out: bool,
) -> bytes:
    """The page. ``clean`` are the pictures ``(n, 1|3, h, w)`` that ``found`` was measured on."""
    some = clean[np.linspace(0, len(clean) - 1, min(SHOWN, len(clean))).round().astype(int)]
    kind = "that it was not trained on" if held_out else "that it was trained on"
    return page(model, [
        f"<p>White noise was put on {len(clean)} pictures {kind}, and taken out again without being told how much.</p>",
        _figures(found),
        *_levels(found, restore, some, seed),
    ])  # fmt: skip


def _figures(found: Sequence[Restored]) -> str:
    lines = [
        (f"{each.sigma:g}", f"{each.noisy_psnr:.2f} dB", f"{each.filter_psnr:.2f} dB", f"{each.restored_psnr:.2f} dB",
         f"{each.noisy_ssim:.3f}", f"{each.restored_ssim:.3f}",
         *([f"{each.noisy_lpips:.3f}", f"{each.restored_lpips:.3f}"] if each.restored_lpips is not None else []))
        for each in found
    ]  # fmt: skip
    heads = ["Noise", "PSNR noisy", "best simple filter", "restored", "SSIM noisy", "restored"]
    if any(each.restored_lpips is not None for each in found):
        heads += ["LPIPS noisy", "restored"]
    caption = (
        "Noise: standard deviation on the scale 0 to 255; at 0 a clean picture should be left alone. The simple filter "
        "is the best of five, chosen with the clean pictures at hand."
    )
    return "<h2>Figures</h2>" + table(heads, lines, caption, numbers=range(len(heads)))


def _levels(
    found: Sequence[Restored], restore: Callable[[Image.Image], Image.Image], clean: NDArray[np.uint8], seed: int
) -> Iterator[str]:
    for each in found:
        noisy = add_noise(clean, each.sigma, seed)
        rows = np.concatenate([clean, noisy, restored_pictures(restore, noisy)])
        words = f"noise of {each.sigma:g}: clean, noisy, restored"
        yield f"<h2>Noise of {each.sigma:g}</h2><p>Clean above, noisy, restored.</p>"
        yield picture_sheet(rows, len(clean), words)

