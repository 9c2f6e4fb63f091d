"""Where images come from: random access to encoded or decoded records, one interface.

LmdbSource     an LSUN directory as published (data.mdb, lock.mdb)
FolderSource   a folder of image files, sub-folders are classes
TfdsSource     any TFDS image data set that is prepared on disk
ArraySource    arrays in memory
"""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tf_mixed_nash.errors import InputError, extra

__all__ = [
    "LSUN_HELP",
    "ArraySource",
    "FolderSource",
    "LmdbSource",
    "Record",
    "Source",
    "TfdsSource",
    "digest",
    "open_path",
]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# What TFDS data sets without random access may hold encoded in memory.
_MEMORY_LIMIT = 2 * 2**30

LSUN_HELP = (
    "LSUN is fetched by hand: bedroom_train_lmdb.zip (42.8 GiB, 3,033,042 images) and "
    "bedroom_val_lmdb.zip (300 images) from the data set's own site; unzip, and give the folder "
    "that holds data.mdb with --config.data.path=.../bedroom_train_lmdb."
)


class Record(NamedTuple):
    """One image: `image` is encoded bytes or uint8 [h, w] or [h, w, c]; `label` or None."""

    image: Any
    label: int | None


class Source(Protocol):
    """Random access to records; what all below derive from. Reading is thread-safe.

    Attributes:
      name: for messages and reports.
      num_classes: how many labels there are, or None.
      fingerprint: changes when the data do; keys cached statistics.
    """

    name: str
    num_classes: int | None
    fingerprint: str

    def __len__(self) -> int:
        """How many records there are."""
        ...

    def read(self, index: int) -> Record:
        """Record number `index`, in [0, len(self))."""
        ...


def digest(*parts: object) -> str:
    """Sixteen hexadecimal digits of the parts' representations, for fingerprints."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()


class ArraySource(Source):
    """Images in memory.

    Args:
      images: uint8 [n, h, w] or [n, h, w, c], c in 1, 3, 4.
      labels: int [n], or None.
      name: for messages.

    Raises:
      InputError: for arrays of another form.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray | None = None, name: str = "array"):
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or not len(images):
            raise InputError(
                f"Images in memory must be uint8 [n, h, w] or [n, h, w, c] with n >= 1, got "
                f"{images.dtype} {list(images.shape)}."
            )
        if images.ndim == 4 and images.shape[3] not in (1, 3, 4):
            raise InputError(f"Images must have 1, 3 or 4 channels, got {images.shape[3]}.")
        if labels is not None and labels.shape != (len(images),):
            raise InputError(
                f"{len(images)} images need {len(images)} labels, got {list(labels.shape)}."
            )
        self.name, self._images, self._labels = name, images, labels
        self.num_classes = None if labels is None else int(labels.max()) + 1
        content = hashlib.blake2b(np.ascontiguousarray(images).data, digest_size=8)
        self.fingerprint = digest(images.shape, content.hexdigest())

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> Record:
        label = None if self._labels is None else int(self._labels[index])
        return Record(self._images[index], label)


class FolderSource(Source):
    """Image files of a folder, in sorted order; its sub-folders, if any, are the classes.

    Raises:
      InputError: if the folder is missing or holds no images.
    """

    def __init__(self, path: Path):
        if not path.is_dir():
            raise InputError(f"There is no folder {path}. Give one with --config.data.path.")
        self._files = sorted(
            Path(folder) / name
            for folder, _, names in os.walk(path)
            for name in names
            if name.lower().endswith(_SUFFIXES) and not name.startswith(".")
        )
        if not self._files:
            raise InputError(
                f"{path} holds no images. Expected files ending in {', '.join(_SUFFIXES)} in it "
                "or in its sub-folders, or an LMDB directory (data.mdb)."
            )
        self.name = str(path)
        classes = sorted({f.relative_to(path).parts[0] for f in self._files if f.parent != path})
        number = {name: i for i, name in enumerate(classes)}
        labelled = all(f.parent != path for f in self._files)
        self._labels = (
            [number[f.relative_to(path).parts[0]] for f in self._files] if labelled else None
        )
        self.num_classes = len(classes) if labelled else None
        stats = [(str(f.relative_to(path)), f.stat().st_size) for f in self._files]
        self.fingerprint = digest(stats)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> Record:
        label = None if self._labels is None else self._labels[index]
        return Record(self._files[index].read_bytes(), label)


@functools.cache  # LMDB lets a process open a directory once
def _environment(path: str):
    import lmdb

    return lmdb.open(
        path, readonly=True, lock=False, readahead=False, meminit=False, max_readers=512
    )


class LmdbSource(Source):
    """An LMDB directory whose values are encoded images, as LSUN publishes them.

    The keys are listed once; the list is kept beside the data if that folder can be
    written (LSUN's train set has 3,033,042 keys, whose listing reads the whole file), else
    in memory.

    Raises:
      InputError: if the directory is missing, is no LMDB, or is empty; or the extra `lmdb` is.
    """

    _LIST = ".tf_mixed_nash_keys.npy"

    def __init__(self, path: Path):
        with extra("lmdb", f"The LMDB data at {path}"):
            import lmdb

        data = path / "data.mdb"
        if not data.is_file():
            raise InputError(f"{path} is no LMDB directory: it has no data.mdb. {LSUN_HELP}")
        try:
            self._environment = _environment(str(path.resolve()))
        except lmdb.Error as error:
            raise InputError(
                f"{data} cannot be read as LMDB ({error}); it is {data.stat().st_size:,} bytes. "
                f"The download may be cut short: unzip it again. {LSUN_HELP}"
            ) from None
        # A read beyond the end of the memory map would kill the process (SIGBUS).
        pages = self._environment.info()["last_pgno"] + 1
        if data.stat().st_size < (size := pages * self._environment.stat()["psize"]):
            raise InputError(
                f"{data} is cut short: {data.stat().st_size:,} bytes of {size:,}. Download or "
                f"unzip it again. {LSUN_HELP}"
            )
        self.name = str(path)
        self.num_classes: int | None = None
        with self._environment.begin() as transaction:
            entries = transaction.stat()["entries"]
        if entries == 0:
            raise InputError(f"{path} is an LMDB without any record. {LSUN_HELP}")
        self.fingerprint = digest(entries, data.stat().st_size)
        self._keys = self._listed(path, entries)

    def _listed(self, path: Path, entries: int) -> np.ndarray:
        cache = path / self._LIST
        try:
            keys = np.load(cache, allow_pickle=False)
            if (
                len(keys) == entries
                and cache.stat().st_mtime >= (path / "data.mdb").stat().st_mtime
            ):
                return keys
        except (OSError, ValueError):
            pass  # not there yet, or of another writer: listed anew
        with self._environment.begin() as transaction:
            listed = [bytes(k) for k in transaction.cursor().iternext(keys=True, values=False)]
        # Fixed-width bytes: numpy would drop trailing zeros, so the length goes in front.
        keys = np.array([len(k).to_bytes(2, "big") + k for k in listed])
        try:
            temporary = cache.with_name(f".{os.getpid()}{self._LIST}")
            np.save(temporary, keys)
            os.replace(temporary, cache)
        except OSError:
            pass  # a read-only folder: the list stays in memory
        return keys

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, index: int) -> Record:
        entry = bytes(self._keys[index])
        size = int.from_bytes(entry[:2], "big")
        key = entry[2:].ljust(size, b"\0")
        with self._environment.begin() as transaction:
            value = transaction.get(key)
        return Record(value if value is not None else b"", None)


class TfdsSource(Source):
    """A TFDS image data set that is prepared on disk.

    Data sets in a random-access file format (array_record) are read record by record;
    others are read into memory once, encoded, up to 2 GiB.

    Args:
      name: as in `tfds.load`, such as "fashion_mnist".
      split: "train", "test", "train[:1000]", ...
      directory: TFDS's data directory, or None for its default.
      download: fetch and prepare the data if they are not there.

    Raises:
      InputError: for an unknown name or split, data that are not prepared, no image feature,
        too many bytes for memory, or no extra `tfds`.
    """

    def __init__(self, name: str, split: str, directory: str | None, download: bool = False):
        with extra("tfds", f"The TFDS data set {name!r}"):
            import tensorflow_datasets as tfds

        try:
            builder = tfds.builder(name, data_dir=directory)
        except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise InputError(
                f"TFDS has no data set {name!r} in {directory or 'its default folder'} ({first}). "
                "See tfds.list_builders(), and --config.data.tfds_dir for where data lie."
            ) from None
        if not Path(builder.data_dir).is_dir():
            if not download:
                raise InputError(
                    f"The TFDS data set {name!r} is not prepared in {builder.data_dir}. Prepare it "
                    f"with `tfds build {name}`, or point --config.data.tfds_dir at a folder that "
                    "has it, or add --config.data.download=true."
                )
            builder.download_and_prepare()
        features: Any = builder.info.features
        images = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
        if not images:
            found = ", ".join(features)
            raise InputError(f"The TFDS data set {name!r} has no image feature. It has: {found}.")
        labels = [k for k, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
        self.name = f"{name}/{split}"
        self.num_classes = features[labels[0]].num_classes if labels else None
        self._image, self._label = images[0], labels[0] if labels else None
        try:
            info = builder.info.splits[split]
        except (KeyError, ValueError):
            raise InputError(
                f"The TFDS data set {name!r} has no split {split!r}. It has: "
                f"{', '.join(builder.info.splits)}."
            ) from None
        self.fingerprint = digest(str(builder.info.full_name), split, info.num_examples)
        self._records = self._open(builder, split, info)

    def _open(self, builder, split: str, info) -> Sequence[Any]:
        import tensorflow_datasets as tfds

        decoders = {self._image: tfds.decode.SkipDecoding()}
        random_access = {tfds.core.file_adapters.FileFormat.ARRAY_RECORD}
        if builder.info.file_format in random_access:
            return builder.as_data_source(split, decoders=decoders)
        if (info.num_bytes or 0) > _MEMORY_LIMIT:
            raise InputError(
                f"{self.name} holds {info.num_bytes / 2**30:.1f} GiB in a format without random "
                "access. Prepare it with `tfds build --file_format=array_record`."
            )
        read = tfds.ReadConfig(interleave_cycle_length=1)
        data = builder.as_dataset(split, decoders=decoders, shuffle_files=False, read_config=read)
        return [{k: r[k] for k in (self._image, self._label) if k} for r in tfds.as_numpy(data)]

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int) -> Record:
        record = self._records[index]
        label = None if self._label is None else int(record[self._label])
        return Record(record[self._image], label)


def open_path(path: str | Path) -> Source:
    """The data at a path: an LMDB directory, a folder of images, or a NumPy file of them.

    An .npy holds uint8 images; an .npz holds `images` and, if there are any, `labels`.

    Raises:
      InputError: if there is nothing of the kind.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"There is nothing at {path} (--config.data.path). {LSUN_HELP}")
    if path.is_file():
        return _numpy_file(path)
    return LmdbSource(path) if (path / "data.mdb").exists() else FolderSource(path)


def _numpy_file(path: Path) -> ArraySource:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return ArraySource(content, name=str(path))
        labels = content["labels"].astype(np.int64) if "labels" in content else None
        return ArraySource(content["images"], labels, str(path))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is no NumPy file of images ({error}). Expected an .npy of uint8 [n, h, w, c], "
            "an .npz with `images` and perhaps `labels`, a folder of images, or an LMDB directory."
        ) from None
