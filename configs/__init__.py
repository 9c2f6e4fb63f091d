"""One file per experiment, each with a get_config(); see configs/common.py."""

# Data set -> the file here, without .py, whose config the comparisons and the study take for it.
DATASETS = {
    "cifar10": "cifar10_mp",
    "fashion_mnist": "fashion_mnist_mp",
    "gaussians25": "gaussians25_mp",
    "gaussians8": "gaussians8_mp",
    "lsun": "lsun_mp",
    "mnist": "mnist_mp",
    "swissroll": "swissroll_mp",
}
