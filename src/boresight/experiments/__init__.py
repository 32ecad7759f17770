"""Many runs together: sweeps and studies."""
