"""Many runs: what a sweep consists of, where it lies, and what came out."""
