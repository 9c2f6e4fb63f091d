"""Where images come from: random access to encoded or decoded records, one interface.

LmdbSource     an LSUN directory as published (data.mdb, lock.mdb)
FolderSource   a folder of image files, sub-folders are classes (folders.py)
TfdsSource     any TFDS image data set that is prepared on disk
ArraySource    arrays in memory
"""

from __future__ import annotations

import difflib
import hashlib
import os
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_mixed_nash.errors import InputError, extra
from trainers.tasks.data.decoding import is_image
from trainers.tasks.data.folders import FolderSource
from trainers.tasks.data.records import Record, Source, digest, natural, shown

__all__ = [
    "LSUN_HELP",
    "ArraySource",
    "FolderSource",
    "LmdbSource",
    "Record",
    "Source",
    "TfdsSource",
    "open_path",
]

# What TFDS data sets without random access may hold encoded in memory.
_MEMORY_LIMIT = 2 * 2**30
# LMDB files of up to so many bytes are hashed whole; of larger ones some records.
_HASHED_BYTES = 4 * 2**30
_HASHED_RECORDS = 256
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")

LSUN_HELP = (
    "LSUN is fetched by hand: bedroom_train_lmdb.zip (42.8 GiB, 3,033,042 images) and "
    "bedroom_val_lmdb.zip (300 images) from the data set's own site; unzip, and give the folder "
    "that holds data.mdb with --config.data.path=.../bedroom_train_lmdb."
)


class ArraySource(Source):
    """Images in memory.

    Args:
      images: uint8 [n, h, w] or [n, h, w, c], c in 1, 3, 4.
      labels: integers >= 0 or texts [n], or None. Texts become 0, 1, ... in natural order.
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
        self.name, self._images = name, images
        self.num_classes: int | None = None
        content = [images.shape, _hash(images)]
        if labels is not None:
            self.labels, self.class_names = _classes(labels)
            self.num_classes = int(self.labels.max()) + 1
            content += [_hash(self.labels), self.class_names]
        self.fingerprint = digest(*content)

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> Record:
        label = None if self.labels is None else int(self.labels[index])
        return Record(self._images[index], label)


def _hash(x: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(x).data, digest_size=8).hexdigest()


def _classes(labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """(int64 labels, the names of the classes if they have some)."""
    if labels.dtype.kind in "US":
        texts = [x.decode(errors="replace") if isinstance(x, bytes) else str(x) for x in labels]
        names = sorted(set(texts), key=natural)
        number = {name: i for i, name in enumerate(names)}
        return np.array([number[x] for x in texts], np.int64), tuple(names)
    whole = labels.dtype.kind in "iub" or (
        labels.dtype.kind == "f" and bool((labels == np.floor(labels)).all())
    )
    if not whole or (labels < 0).any():
        raise InputError(
            f"Labels must be whole numbers of at least 0, or texts; got {labels.dtype} from "
            f"{labels.min()} to {labels.max()}. Number the classes 0, 1, 2, ..."
        )
    return labels.astype(np.int64), None


# LMDB lets a process open a directory once: path -> (which file it was, environment).
_ENVIRONMENTS: dict[str, tuple[Any, Any]] = {}
_OPENING = threading.Lock()


def _environment(path: str):
    """The environment of a directory; a new one where its file was replaced."""
    import lmdb

    info = os.stat(os.path.join(path, "data.mdb"))
    which = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
    with _OPENING:
        known, environment = _ENVIRONMENTS.get(path, (None, None))
        if known != which:
            if environment is not None:
                environment.close()
                del _ENVIRONMENTS[path]
            environment = lmdb.open(
                path, readonly=True, lock=False, readahead=False, meminit=False, max_readers=512
            )
            _ENVIRONMENTS[path] = which, environment
    return environment


class LmdbSource(Source):
    """An LMDB directory whose values are encoded images, as LSUN publishes them.

    The keys are listed once; the list is kept beside the data if that folder can be
    written (LSUN's train set has 3,033,042 keys, whose listing reads the whole file), else
    in memory. The list and the fingerprint are of the file as it is: another one in its place is
    noticed. The fingerprint has the keys, and every value of up to 4 GiB; of larger files 256
    values, and the size and time of change.

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
        self._keys = self._listed(path, entries)
        self.fingerprint = self._fingerprint(data)

    def _fingerprint(self, data: Path) -> str:
        info, num = data.stat(), len(self._keys)
        # Whatever the width of their array, which depends on who wrote the list.
        keys = hashlib.blake2b(b"\n".join(self._keys.tolist()), digest_size=16).hexdigest()
        if info.st_size <= _HASHED_BYTES:
            some, more = range(num), ()
        else:
            some = np.unique(np.linspace(0, num - 1, _HASHED_RECORDS).astype(int)).tolist()
            more = (info.st_size, info.st_mtime_ns)
        values = hashlib.blake2b(digest_size=16)
        for index in some:
            value = self.read(index).image
            values.update(len(value).to_bytes(8, "big") + value)
        return digest(keys, values.hexdigest(), *more)

    def _listed(self, path: Path, entries: int) -> np.ndarray:
        cache = path / self._LIST
        info, write = (path / "data.mdb").stat(), self._environment.info()["last_txnid"]
        # Which file the list is of, as its first entry.
        mine = digest(info.st_size, info.st_mtime_ns, info.st_ino, write).encode()
        try:
            known = np.load(cache, allow_pickle=False)
            if len(known) == entries + 1 and known[0] == mine:
                return known[1:]
        except (OSError, ValueError):
            pass  # not there yet, or of another writer: listed anew
        with self._environment.begin() as transaction:
            listed = [bytes(k) for k in transaction.cursor().iternext(keys=True, values=False)]
        # Fixed-width bytes: numpy would drop trailing zeros, so the length goes in front.
        keys = np.array([len(k).to_bytes(2, "big") + k for k in listed])
        try:
            temporary = cache.with_name(f".{os.getpid()}{self._LIST}")
            np.save(temporary, np.concatenate([[mine], keys]))
            os.replace(temporary, cache)
        except OSError:
            pass  # a read-only folder: the list stays in memory
        return keys

    def __len__(self) -> int:
        return len(self._keys)

    def _key(self, index: int) -> bytes:
        entry = bytes(self._keys[index])
        size = int.from_bytes(entry[:2], "big")
        return entry[2:].ljust(size, b"\0")

    def read(self, index: int) -> Record:
        with self._environment.begin() as transaction:
            value = transaction.get(self._key(index))
        return Record(value if value is not None else b"", None)

    def where(self, index: int) -> str:
        """The record's key."""
        return f"key {shown(self._key(index).decode('utf-8', 'backslashreplace'))}"


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
        self.class_names = tuple(features[labels[0]].names) if labels else None
        self._image, self._label = images[0], labels[0] if labels else None
        sizes = (f"{key} ({one.num_examples:,})" for key, one in builder.info.splits.items())
        have = f"It has: {', '.join(sizes)}."
        try:
            info = builder.info.splits[split]
        except (KeyError, ValueError):
            raise InputError(f"The TFDS data set {name!r} has no split {split!r}. {have}") from None
        if not info.num_examples:
            raise InputError(f"The TFDS data set {name!r} has nothing in {split!r}. {have}")
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


def open_path(path: str | Path, dataset: str = "folder") -> Source:
    """The data at a path: an LMDB directory, a folder of images, or a NumPy file of them.

    An .npy holds uint8 images; an .npz holds `images` and, if there are any, `labels`.

    Args:
      path: where they are.
      dataset: the config's; how to get the data is said of "lsun" alone.

    Raises:
      InputError: if there is nothing of the kind.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(_nothing_at(path, dataset))
    if path.is_dir():
        return LmdbSource(path) if (path / "data.mdb").exists() else FolderSource(path)
    if not path.is_file():
        raise InputError(f"{path} is neither a file nor a folder (--config.data.path).")
    if path.suffix.lower() in _ARCHIVES:
        raise InputError(f"{path} is an archive. Unpack it, and give --config.data.path=FOLDER.")
    if is_image(path):
        raise InputError(f"{path} is one image. Give its folder, --config.data.path={path.parent}.")
    return _numpy_file(path)


def _nothing_at(path: Path, dataset: str) -> str:
    """What to say of a path that is not there: how far it is there, and the nearest name."""
    said = f"There is nothing at {path} (--config.data.path)."
    if path.is_symlink():
        return f"{path} is a link to nothing, {os.readlink(path)} (--config.data.path). Mend it."
    there = next(p for p in (*path.parents, Path("/")) if p.exists())
    wrong = path.relative_to(there).parts[0] if there in path.parents else path.name
    try:
        names = sorted(e.name for e in os.scandir(there) if not e.name.startswith("."))
    except OSError:
        names = []
    lower = {name.lower(): name for name in reversed(names)}
    if close := difflib.get_close_matches(wrong.lower(), lower, n=1):
        return f"{said} Did you mean {there / lower[close[0]]}?"
    if dataset == "lsun":
        return f"{said} {LSUN_HELP}"
    few = ", ".join(map(shown, names[:8])) + (", ..." if len(names) > 8 else "")
    return f"{said} {there} is there, and holds: {few or 'nothing'}."


def _numpy_file(path: Path) -> ArraySource:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return ArraySource(content, name=str(path))
        labels = content["labels"] if "labels" in content.files else None
        return ArraySource(content["images"], labels, str(path))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is no NumPy file of images ({error}). Expected an .npy of uint8 [n, h, w, c], "
            "an .npz with `images` and perhaps `labels`, a folder of images, or an LMDB directory."
        ) from None
