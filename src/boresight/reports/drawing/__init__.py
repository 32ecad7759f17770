"""Draw plots as SVG: scales, curves and labels that reports, studies and sweeps share."""
