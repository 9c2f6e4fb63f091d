"""Many steps of a GAN in one compiled call; snapshots; feeds."""
