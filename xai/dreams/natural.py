"""What photographs have in common: neighbouring pixels and the three colours rise and fall together.

Both facts are a covariance: of space 1 / f^2 at spatial frequency f, and of colour a 3 x 3 matrix. A gradient
multiplied by a power of it prefers natural pictures among all that please the network. Power 1 is plain ascent on
decorrelated coordinates; Adam on them, which divides by the size of each gradient, is nearer to 1/2.

Source: Olah, Mordvintsev & Schubert 2017, Feature visualization (preconditioning); the colour matrix is that of its
code, Lucid 0.3.
"""

import torch
from torch import Tensor

from xai.dreams.pyramid import Size, unit

_POWER = 0.75
_COLOUR = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))  # a root of the covariance over ImageNet


def smooth_space(gradient: Tensor) -> Tensor:
    """Return a gradient (N, C, h, w) in which each frequency f counts as much as in photographs."""
    size = (int(gradient.shape[2]), int(gradient.shape[3]))
    weights = frequencies(size).pow(-2 * _POWER).to(gradient)
    found: Tensor = torch.fft.irfft2(torch.fft.rfft2(gradient) * weights, s=size)
    return found


def mix_colours(gradient: Tensor) -> Tensor:
    """Return a gradient (N, 3, h, w) whose colours move together as much as in photographs."""
    root = torch.tensor(_COLOUR, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(root @ root.T)
    mixed = vectors @ torch.diag(values.clamp_min(0).pow(_POWER)) @ vectors.T
    return torch.einsum("ij,njhw->nihw", (mixed / values.max() ** _POWER).to(gradient), gradient)


def frequencies(size: Size) -> Tensor:
    """Return the spatial frequencies of `rfft2` in cycles per pixel, (h, w // 2 + 1); that of the mean as the next."""
    rows, columns = torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None]
    found: Tensor = (rows.square() + columns.square()).sqrt().clamp_min(1 / max(size))
    return found


def pink(noise: Tensor) -> Tensor:
    """Return white noise (N, C, h, w) as noise with the spectrum 1 / f of photographs, root mean square 1."""
    size = (int(noise.shape[2]), int(noise.shape[3]))
    return unit(torch.fft.irfft2(torch.fft.rfft2(noise) / frequencies(size).to(noise), s=size))
