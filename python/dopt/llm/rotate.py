"""Rotations of a decoder that change nothing in float and make weights easier to round (QuaRot, arXiv:2404.00456)."""

from typing import Any, Optional

from dopt.llm.families import Blocks, norm_kind
from dopt.llm.load import Source


def why_not(source: Source, blocks: Blocks) -> Optional[str]:
    """Why the residual stream cannot be rotated; None when it can."""
    if norm_kind(source.network, blocks) != "rms":
        return "norms are no RMSNorm: a rotation does not pass through them"
    return None
