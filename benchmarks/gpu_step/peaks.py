"""What a device can do at most, by its name: dense bfloat16 products with float32 sums.

From NVIDIA's data sheets, where numbers with sparsity (twice these) stand beside them or instead:
nvidia.com/en-us/data-center/{a100,h100,h200,l4,l40s}, the Blackwell data sheet for B200, and the whitepaper
of the Ada architecture for the RTX 4090. A device of another name needs --peak-tflops.
"""

from __future__ import annotations

BF16_TFLOPS = {
    "NVIDIA A100": 312.0,
    "NVIDIA B200": 2250.0,
    "NVIDIA GeForce RTX 4090": 165.2,
    "NVIDIA H100 NVL": 835.0,
    "NVIDIA H100 PCIe": 756.0,
    "NVIDIA H100": 989.0,
    "NVIDIA H200 NVL": 835.0,
    "NVIDIA H200": 989.0,
    "NVIDIA L40S": 362.0,
    "NVIDIA L4": 121.0,
}


def peak_flops(device: str, dtype: str) -> float | None:
    """Operations a second that the device called `device` cannot exceed in `dtype`, where known.

    A name is that of a family, followed by a form or a size of memory: the longest that fits counts.
    """
    fitting = [name for name in BF16_TFLOPS if device == name or device.startswith((f"{name} ", f"{name}-"))]
    if dtype != "bfloat16" or not fitting or "Laptop" in device:
        return None
    return BF16_TFLOPS[max(fitting, key=len)] * 1e12
