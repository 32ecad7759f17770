"""What older versions of libraries lack, for tests that skip there."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import pytest
import torch
from packaging.version import Version
from torch._meta_registrations import meta_mm


def is_older(library: str, than: str) -> bool:
    """Whether the installed version of a library is older than another one."""
    return Version(version(library)) < Version(than)


NEEDS_GRAD_DTYPE = pytest.mark.skipif(not hasattr(torch.Tensor, "grad_dtype"), reason="needs torch 2.10")
NEEDS_WIDE_META = pytest.mark.skipif(
    "out_dtype" not in inspect.signature(meta_mm).parameters, reason="torch has no wide products on `meta`"
)
