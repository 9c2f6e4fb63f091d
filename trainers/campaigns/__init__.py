"""Many runs toward one answer."""
