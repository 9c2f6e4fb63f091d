"""Packaging of tf_mixed_nash. What was tested together is in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "tf_mixed_nash" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

SERVING = [
    "aiohttp>=3.10,<4",
    "grpcio>=1.60,<2",
    "orjson>=3.10,<4",
    "prometheus-client>=0.20,<1",
    "uvloop>=0.21,<1",
]
TFDS = [
    "importlib_resources>=6",  # tensorflow-datasets 4.9.10 needs it and does not say so
    "tensorflow-datasets>=4.9.10,<4.10",
]
LMDB = ["lmdb>=1.6,<4"]
METRICS = ["POT>=0.9.4,<0.10"]  # of 177 MB; the runs' own scorecards do without
ONNX = ["onnx>=1.17,<2", "onnxruntime>=1.20,<2", "tf2onnx>=1.16,<2"]
LITERT = ["ai-edge-litert>=2,<3"]
# Of the benchmarks alone, in an environment of their own: `make peers`.
BENCH = ["jax>=0.10,<0.11", "jaxlib>=0.10,<0.11", "torch>=2.13,<2.14"]
SWEEP = ["optuna>=4,<5"]
# The site: `make docs`.
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.29,<2"]
# What users need at most, without a machine's (gpu) and the benchmarks' peers.
ALL = [*SERVING, *TFDS, *LMDB, *METRICS, *ONNX, *LITERT, *SWEEP]

setup(
    name="tf_mixed_nash",
    version=VERSION,
    description="Mixed Nash equilibria of GANs (Mirror-GAN, Mirror-Prox-GAN) in TensorFlow",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["tf_mixed_nash*", "trainers*", "export*", "configs*"]),
    package_data={
        "trainers.campaigns.study": ["figure_2.md"],
        "trainers.reports": ["*.html"],
        "trainers.tasks": ["feature_networks/*.npz"],
        "export.serving": ["page/*"],
        "export.tfserving": ["templates/*"],
    },
    install_requires=[
        "absl-py>=2.1,<3",
        "Jinja2>=3.1,<4",  # reports
        "keras>=3.10,<4",
        "Markdown>=3.4,<4",
        "matplotlib>=3.8,<4",
        "ml_collections>=1.0,<2",
        "numpy>=1.26,<3",
        "pillow>=11,<14",
        "PyYAML>=6,<7",
        "scipy>=1.11,<2",
        "tensorflow>=2.20,<2.22",
        "tensorflow-probability>=0.25,<0.26",
        "tensorflow-serving-api>=2.19,<2.22",  # protos of the warm-up requests
        "tensorboard>=2.19,<2.22",
        "tf-keras>=2.20,<2.22",  # tensorflow-probability 0.25 imports it
        "tqdm>=4.66,<5",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.22"],
        "serving": SERVING,
        "tfds": TFDS,
        "lmdb": LMDB,
        "metrics": METRICS,
        "onnx": ONNX,
        "litert": LITERT,
        "sweep": SWEEP,
        "all": ALL,
        "bench": BENCH,
        "docs": DOCS,
        "dev": [
            *ALL,
            *DOCS,
            "basedpyright>=1.29",
            "hypothesis>=6.100,<7",
            "ovmsclient>=2023.1",
            "playwright>=1.45,<2",  # drives a Chromium that is installed; downloads none
            "prdc>=0.2,<0.3",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6,<4",
            "ruff>=0.11",
        ],
    },
    entry_points={"console_scripts": ["mixed-nash = tf_mixed_nash.__main__:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Operating System :: POSIX :: Linux",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
