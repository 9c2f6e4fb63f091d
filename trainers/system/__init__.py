"""What we ask of the operating system: command line, whole files, locks, signals, devices."""
