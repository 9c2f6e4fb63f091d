"""Real data of the user's own, as mini-batches that are functions of the seed and their number.

    arrays                x, or (x, y): shuffled anew in every epoch (`training.order`)
    function              (m, size) -> x, or (x, y): mini-batch number m. A `tf.function` becomes
                          part of the compiled steps; the host calls another, with a Python integer
    keras.utils.PyDataset its items, each a mini-batch; shuffled anew in every epoch
    tf.data.Dataset       one after the other. To go on at mini-batch m all before it are read
                          again, so that resuming is exact where the data set's own order is (give
                          its `shuffle` a seed)

y are classes, integers [n] or [n, 1] in [0, k). Numbers are taken as they are, but for images of
uint8, [n, height, width, channels]: those become numbers in [-1, 1].
"""

from __future__ import annotations

import abc
import functools
import hashlib
import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mixed_nash import rng
from tf_mixed_nash.compile import as_before
from tf_mixed_nash.errors import InputError
from tf_mixed_nash.models.roles import reason
from tf_mixed_nash.training import order
from tf_mixed_nash.training.feeds import Feed
from trainers.system import user_files
from trainers.tasks.data.device_feed import DEVICE_BYTES, DeviceFeed, with_classes

__all__ = [
    "ArrayData",
    "FunctionData",
    "ItemData",
    "StreamData",
    "UserData",
    "check_labels",
    "make",
    "make_compared",
    "order_seed",
]

_BLOCK_BYTES = 2**25  # of one block of mini-batches that the host makes
_MOST_BATCHES = 4_096
_KEPT_ROWS = 4_096  # of a stream, to compare with
_COMPARED_ROWS = 10_000  # the most that are read of a data set to compare with
_READ_ROWS = 256  # at once
# Held-out mini-batches of a function have numbers from here on, which no training reaches.
HELD_OUT = 2**30


class UserData(abc.ABC):
    """What a task knows of them.

    Attributes:
      kind: one of "arrays", "function", "items", "stream".
      name: for messages and reports.
      shape: of a row.
      dtype: of a row, as the user's.
      labelled: whether they come with classes.
      fingerprint: changes when the data do, as far as can be told without reading all of them.
      num_rows: how many `other` has before it repeats one; None: there is no end of them.
    """

    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    labelled: bool
    fingerprint: str
    num_rows: int | None = None

    def describe(self) -> dict[str, Any]:
        """For config.json."""
        return {
            "kind": self.kind,
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "labelled": self.labelled,
            "fingerprint": self.fingerprint,
        }

    @abc.abstractmethod
    def first(self, batch_size: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Some rows, to look at: mini-batch 0, or all rows of arrays."""
        ...

    @abc.abstractmethod
    def feed(self, seed: int, batch_size: int, num_classes: int, dtype: tf.DType) -> Feed:
        """The mini-batches of a training, with classes if `num_classes` is not 0."""
        ...

    @abc.abstractmethod
    def other(self, seed: int, num: int) -> tuple[np.ndarray, np.ndarray | None]:
        """`num` rows of another order than any training's."""
        ...


class _HostFeed:
    """See `feeds.Feed`: a block is (its first m, rows [k, B, ...], classes [k, B] or nothing).

    Args:
      batch: m -> (x [B, ...], y [B] or None), in the host's memory.
      example: of it.
      num_classes: k, or 0.
      dtype: of the networks.
      restart: called before `batch` where m does not follow the one before.
    """

    def __init__(self, batch, example, num_classes, dtype):
        self.waited = 0.0
        self._batch, self._num_classes, self._dtype = batch, num_classes, dtype
        x, y = example
        self._types = (x.dtype, None if y is None or not num_classes else np.dtype(np.int64))
        self._most = max(1, min(_BLOCK_BYTES // max(x.nbytes, 1), _MOST_BATCHES))
        specs = [tf.TensorSpec([], tf.int64), tf.TensorSpec([None, *x.shape], x.dtype)]
        if num_classes:
            specs.append(tf.TensorSpec([None, len(x)], tf.int64))
        self.signature = tuple(specs)

    def limit(self, start, end):
        """See `feeds.Feed.limit`."""
        return min(end, start + self._most)

    def block(self, start, end):
        """See `feeds.Feed.block`."""
        began = time.perf_counter()
        with as_before():
            batches = [self._batch(m) for m in range(start, end)]
        for m, (x, y) in zip(range(start, end), batches, strict=True):
            self._check(m, x, y)
        rows = np.stack([x for x, _ in batches])
        parts = [tf.constant(start, tf.int64), tf.constant(rows)]
        if self._num_classes:
            parts.append(tf.constant(np.stack([y for _, y in batches]), tf.int64))
        self.waited += time.perf_counter() - began
        return tuple(parts)

    def _check(self, m, x, y):
        """Raises InputError for a mini-batch that is not like the first."""
        wanted, dtype = self.signature[1].shape[1:], self._types[0]
        if list(x.shape) != wanted.as_list() or x.dtype != dtype:
            raise InputError(
                f"Mini-batch {m} of the data is {x.dtype.name} {list(x.shape)}, the first was "
                f"{dtype.name} {wanted.as_list()}. All mini-batches must be alike."
            )
        check_labels(y, self._num_classes, len(x))

    def batch_at(self, block, m):
        """See `feeds.Feed.batch_at`."""
        start, rows, *labels = block
        index = tf.cast(m, tf.int64) - start
        x = tf.gather(rows, index)
        y = tf.gather(labels[0], index) if labels else None
        return with_classes(x, y, self._num_classes, self._dtype)

    def close(self):
        """See `feeds.Feed.close`."""


class _GraphFeed:
    """See `feeds.Feed`: a `tf.function` makes the mini-batches inside the compiled steps."""

    signature = ()
    waited = 0.0

    def __init__(self, function, shape, batch_size, num_classes, dtype):
        self._function, self._size = function, batch_size
        self._shape, self._num_classes, self._dtype = shape, num_classes, dtype

    def limit(self, start, end):
        """See `feeds.Feed.limit`."""
        return end

    def block(self, start, end):
        """See `feeds.Feed.block`."""
        return ()

    def batch_at(self, block, m):
        """See `feeds.Feed.batch_at`."""
        x, y = _parts(self._function(m, self._size))
        x = tf.ensure_shape(x, [self._size, *self._shape])
        y = tf.reshape(y, [self._size]) if self._num_classes else None
        return with_classes(x, y, self._num_classes, self._dtype)

    def close(self):
        """See `feeds.Feed.close`."""


class ArrayData(UserData):
    """Rows in memory; see the module.

    Args:
      x: [n, ...], n >= 1, of numbers that are finite.
      y: integers [n] or [n, 1], or None.
      name: for messages.

    Raises:
      InputError: for anything else.
    """

    kind = "arrays"

    def __init__(self, x: Any, y: Any = None, name: str = "arrays"):
        self.x = _numbers(x, "The data")
        self.name, self.shape, self.dtype = name, self.x.shape[1:], self.x.dtype
        self.labelled = y is not None
        if not len(self.x):
            raise InputError("The data set is empty: it has no rows. Give at least one mini-batch.")
        if np.issubdtype(self.dtype, np.floating) and not np.isfinite(self.x).all():
            bad = ~np.isfinite(self.x).reshape(len(self.x), -1).all(axis=1)
            raise InputError(
                f"{bad.sum():,} of the {len(self.x):,} rows of the data hold NaN or infinity, the "
                f"first of them row {int(np.argmax(bad)):,}. Remove or fill them."
            )
        self.num_rows = len(self.x)
        self.y = None if y is None else _labels(y, self.num_rows)
        content = hashlib.blake2b(np.ascontiguousarray(self.x).data, digest_size=8)
        if self.y is not None:
            content.update(np.ascontiguousarray(self.y).data)
        self.fingerprint = f"{content.hexdigest()}-{'x'.join(map(str, self.x.shape))}"

    def first(self, batch_size):
        """See `UserData.first`."""
        return self.x, self.y

    def feed(self, seed, batch_size, num_classes, dtype):
        """See `UserData.feed`."""
        if len(self.x) < batch_size:
            raise InputError(
                f"The data set has {len(self.x):,} rows, fewer than a mini-batch of {batch_size}. "
                f"Choose a batch_size of at most {len(self.x)}."
            )
        if self.x.nbytes <= DEVICE_BYTES:
            return DeviceFeed(self.x, self.y, seed, batch_size, num_classes, dtype)

        def batch(m):
            records = order.records(seed, m, batch_size, len(self.x))
            return self.x[records], None if self.y is None else self.y[records]

        return _HostFeed(batch, batch(0), num_classes, dtype)

    def other(self, seed, num):
        """See `UserData.other`: the training has seen them, too."""
        rows = order.records_at(seed, np.arange(num, dtype=np.int64), len(self.x))
        return self.x[rows], None if self.y is None else self.y[rows]

    def split(self, fraction: float, seed: int) -> tuple[ArrayData, ArrayData]:
        """(training, held out), which a permutation of the rows decides."""
        num = round(fraction * len(self.x))
        if not 0 < num < len(self.x):
            raise InputError(
                f"Holding out {fraction} of {len(self.x):,} rows leaves none on one side. Choose a "
                "fraction in (0, 1) that does."
            )
        shuffled = order.permutation(np.arange(len(self.x)), len(self.x), seed)

        def part(rows):
            return ArrayData(self.x[rows], None if self.y is None else self.y[rows], self.name)

        return part(np.sort(shuffled[num:])), part(np.sort(shuffled[:num]))


class FunctionData(UserData):
    """Mini-batches of a function (m, size) -> x or (x, y); see the module.

    Args:
      function: for each m >= 0 and size >= 1 rows [size, ...], and classes [size].
      batch_size: with which it is asked for mini-batch 0, to see what it makes.
    """

    kind = "function"

    def __init__(self, function: Callable[..., Any], batch_size: int):
        self._function = function
        self.name = getattr(function, "__name__", None) or type(function).__name__
        self.in_graph = hasattr(function, "get_concrete_function")
        _check_parameters(function, self.name)
        x, y = self.first(batch_size)
        self.shape, self.dtype, self.labelled = x.shape[1:], x.dtype, y is not None
        self.fingerprint = user_files.fingerprint_of_code(function)

    def first(self, batch_size):
        """See `UserData.first`."""
        return self._call(0, batch_size)

    def _call(self, m, size):
        try:
            with as_before():
                made = self._function(tf.constant(m, tf.int64) if self.in_graph else m, size)
        except InputError:
            raise
        except Exception as error:  # a user's code
            raise InputError(
                f"{self.name}({m}, {size}) failed with {type(error).__name__}: {reason(error)}"
            ) from error
        x, y = _parts(made)
        x, y = _numbers(x, f"{self.name}({m}, {size})"), None if y is None else _column(y)
        if not x.ndim or len(x) != size or (y is not None and y.shape != (size,)):
            got = list(x.shape) if y is None else f"{list(x.shape)} with labels {list(y.shape)}"
            raise InputError(
                f"{self.name}({m}, {size}) must return {size} rows [{size}, ...], or (rows, labels "
                f"[{size}]); it returned {got}."
            )
        if m and (x.shape[1:] != self.shape or (y is not None) != self.labelled):
            first, now = (
                f"rows of {list(shape)} with{'' if labelled else 'out'} labels"
                for shape, labelled in ((self.shape, self.labelled), (x.shape[1:], y is not None))
            )
            raise InputError(
                f"{self.name}({m}, {size}) returned {now}, {self.name}(0, ...) {first}. All "
                "mini-batches must be alike; those of numbers from 2^30 on are compared with."
            )
        return x, y

    def feed(self, seed, batch_size, num_classes, dtype):
        """See `UserData.feed`: m is the mini-batch's number, whatever the seed."""
        if self.in_graph:
            return _GraphFeed(self._function, self.shape, batch_size, num_classes, dtype)
        batch = functools.partial(self._call, size=batch_size)
        return _HostFeed(batch, batch(0), num_classes, dtype)

    def other(self, seed, num):
        """See `UserData.other`: mini-batches of numbers from 2^30 on."""
        return self._call(HELD_OUT + seed % 2**20, num)


class ItemData(UserData):
    """The items of a `keras.utils.PyDataset`, each of which is a mini-batch; see the module.

    Its own `on_epoch_end` is not called: item i must stay what it is. Items of another size than
    the first, such as the last one of an epoch, are left out.
    """

    kind = "items"

    def __init__(self, items: Any):
        self._items, self.name = items, type(items).__name__
        self._num = _count(items)
        x, y = self._item(0)
        self._rows = len(x)
        if self._num > 1 and len(self._item(self._num - 1)[0]) != self._rows:
            self._num -= 1
        self.shape, self.dtype, self.labelled = x.shape[1:], x.dtype, y is not None
        self.num_rows = self._num * self._rows
        content = hashlib.blake2b(np.ascontiguousarray(x).data, digest_size=8)
        self.fingerprint = f"{content.hexdigest()}-{self._num}x{self._rows}"

    def _item(self, i):
        return _item(self._items, i)

    def first(self, batch_size):
        """See `UserData.first`."""
        return self._item(0)

    def feed(self, seed, batch_size, num_classes, dtype):
        """See `UserData.feed`."""
        if batch_size != self._rows:
            raise InputError(
                f"The items of {self.name} have {self._rows} rows, and an item is a mini-batch: "
                f"batch_size must be {self._rows}, got {batch_size}."
            )

        def batch(m):
            return self._item(order.records(seed, m, 1, self._num)[0])

        return _HostFeed(batch, batch(0), num_classes, dtype)

    def other(self, seed, num):
        """See `UserData.other`: the training has seen them, too."""
        count = -(-num // self._rows)
        chosen = order.records_at(seed, np.arange(count, dtype=np.int64), self._num)
        return _joined([self._item(i) for i in chosen], num)


class StreamData(UserData):
    """A `tf.data.Dataset` of rows, or of mini-batches of any size; see the module.

    One iterator reads it for all purposes, since each iterator that is made would shuffle the
    others' rows anew: its first mini-batches are kept, to look at and to compare with.

    Args:
      dataset: its elements are x or (x, y).
      batch_size: of the training.
      shape: of a row, where the models say it: it tells rows from mini-batches.
    """

    kind, name = "stream", "tf.data.Dataset"

    def __init__(self, dataset: tf.data.Dataset, batch_size: int, shape: tuple[int, ...] | None):
        self._dataset, self._size = dataset, batch_size
        self._batched, self.labelled = _form(dataset, shape)
        self._begin()
        first = next(self._batches, None)
        if first is None:
            raise InputError("The data set is empty: the tf.data.Dataset has no elements.")
        _numbers(first[0], self.name)
        count = max(1, min(_KEPT_ROWS // batch_size, _BLOCK_BYTES // max(first[0].nbytes, 1)))
        known = int(dataset.cardinality())
        if known >= 0 and not self._batched:
            count = max(1, min(count, known // batch_size))
        self._kept = [first, *(next(self._batches) for _ in range(count - 1))]
        self._next = count
        self.shape, self.dtype = first[0].shape[1:], first[0].dtype
        self.fingerprint = f"{dataset.element_spec}-{known}"

    @functools.cached_property
    def _some(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows that are kept, each once where the stream is seen to begin anew."""
        x, y = _joined(self._kept, len(self._kept) * self._size)
        num = _period(x)
        return x[:num], None if y is None else y[:num]

    @property
    def num_rows(self) -> int:
        """See `UserData`."""
        return len(self._some[0])

    def _begin(self) -> None:
        self._batches, self._next = self._endless(), 0

    def _endless(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Mini-batches without an end (but of an empty set)."""
        with as_before():
            endless = self._dataset.repeat()
            endless = (
                endless.rebatch(self._size, drop_remainder=True)
                if self._batched
                else endless.batch(self._size, drop_remainder=True)
            )
            iterator = iter(endless.prefetch(2))
        while True:
            with as_before():
                element = next(iterator, None)
            if element is None:
                return
            yield _arrays(element)

    def first(self, batch_size):
        """See `UserData.first`."""
        return self._kept[0]

    def feed(self, seed, batch_size, num_classes, dtype):
        """See `UserData.feed`: the data set's own order."""
        return _HostFeed(self._batch, self._kept[0], num_classes, dtype)

    def _batch(self, m: int) -> tuple[np.ndarray, np.ndarray | None]:
        if m < len(self._kept):
            return self._kept[m]
        if m < self._next:
            self._begin()
        while self._next < m:
            next(self._batches)
            self._next += 1
        self._next += 1
        return next(self._batches)

    def other(self, seed, num):
        """See `UserData.other`: of its first rows, which the training sees, too."""
        x, y = self._some
        rows = order.records_at(seed, np.arange(num, dtype=np.int64), len(x))
        return x[rows], None if y is None else y[rows]


def make(data: Any, batch_size: int, shape: tuple[int, ...] | None, labels: Any = None) -> UserData:
    """The data of whatever kind.

    Args:
      data: see the module.
      batch_size: of the training.
      shape: of a row, where the models say it.
      labels: y of arrays, where `data` is x alone.

    Raises:
      InputError: for another kind, or data that cannot be read.
    """
    if isinstance(data, UserData):
        return data
    pair, arrays = _is_pair(data, shape), _is_array(data)
    if labels is not None and (pair or not arrays):
        raise InputError(
            "Labels come either from the data, as (x, y), or from labels=, beside an array; got "
            f"labels= beside {'a pair' if pair else type(data).__name__}."
        )
    if isinstance(data, tf.data.Dataset):
        return StreamData(data, batch_size, shape)
    if isinstance(data, keras.utils.PyDataset):
        return ItemData(data)
    if callable(data):
        return FunctionData(data, batch_size)
    if pair:
        if len(data) != 2 or isinstance(data[0], tuple):
            raise InputError(
                "A tuple of arrays is (x, y), data and labels; got "
                + (f"{len(data)} values." if len(data) != 2 else "two tuples. Give one of them.")
            )
        return ArrayData(*data)
    if arrays:
        return ArrayData(data, labels)
    raise InputError(
        f"Data must be an array [n, ...], a pair (x, y) of arrays, a tf.data.Dataset, a "
        f"keras.utils.PyDataset or a function (m, size) -> mini-batch; got {type(data).__name__}."
    )


def make_compared(
    data: Any, batch_size: int, shape: tuple[int, ...], num: int = _KEPT_ROWS
) -> UserData:
    """Real rows that samples are compared with, of whatever kind: see `make`.

    Of a data set they become an array of its rows, each once, in its own order, at most the first
    10,000: a row that came again would be its own nearest neighbour.

    Args:
      data: see the module.
      batch_size: with which a function is asked for mini-batch 0.
      shape: of a row.
      num: rows of a data set that has no end.
    """
    if isinstance(data, keras.utils.PyDataset):
        items: Iterable = (_item(data, i) for i in range(_count(data)))
        return _read(items, _COMPARED_ROWS, type(data).__name__)
    if not isinstance(data, tf.data.Dataset):
        return make(data, batch_size, shape)
    batched, _ = _form(data, shape)
    endless = int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
    with as_before():
        iterator = iter(data if batched else data.batch(_READ_ROWS))

    def elements():
        while True:
            with as_before():
                element = next(iterator, None)
            if element is None:
                return
            yield _arrays(element)

    return _read(elements(), num if endless else _COMPARED_ROWS, StreamData.name)


def _read(parts: Iterable[tuple[np.ndarray, np.ndarray | None]], most: int, name: str) -> ArrayData:
    """The first rows of a data set, at most so many, as an array."""
    kept, num, size, ended = list[tuple[np.ndarray, np.ndarray | None]](), 0, 0, True
    for x, y in parts:
        if kept and x.shape[1:] != kept[0][0].shape[1:]:
            raise InputError(
                f"{name} has rows of {list(x.shape[1:])} and of {list(kept[0][0].shape[1:])}. All "
                "must have the same shape."
            )
        kept.append((x, y))
        num, size = num + len(x), size + x.nbytes
        if num >= most or size >= DEVICE_BYTES:
            ended = False
            break
    if not kept:
        raise InputError(f"The data set is empty: the {name} has no elements.")
    x, y = _joined(kept, most)
    rows = len(x) if ended else _period(x)
    return ArrayData(x[:rows], None if y is None else y[:rows], name)


def check_labels(y: np.ndarray | None, num_classes: int, num: int | None = None) -> None:
    """Raises InputError for classes that are not integers in [0, k); of k = 0 all are good.

    Args:
      y: [n].
      num_classes: k.
      num: n, where it is known.
    """
    if not num_classes:
        return
    if y is None:
        raise InputError(
            f"num_classes={num_classes} needs labels: give (x, y) with y integers in "
            f"[0, {num_classes}), or num_classes=0."
        )
    if y.ndim != 1 or len(y) != (len(y) if num is None else num):
        raise InputError(
            f"Labels must be integers [{'n' if num is None else num}] in [0, {num_classes}), got "
            f"{y.dtype.name} {list(y.shape)}.{_of_one_hot(y)}"
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"Labels must be integers in [0, {num_classes}), got {y.dtype.name}.")
    if len(y) and not (y.min() >= 0 and y.max() < num_classes):
        raise InputError(
            f"Labels must be in [0, {num_classes}) (num_classes={num_classes}); they lie in "
            f"[{y.min()}, {y.max()}]."
        )


def _is_array(data: Any) -> bool:
    return isinstance(data, (np.ndarray, list, tuple, tf.Tensor)) or hasattr(data, "__array__")


def _is_pair(data: Any, shape: tuple[int, ...] | None) -> bool:
    """Whether it is meant for data and labels, (x, y), and not for rows."""
    if not isinstance(data, (tuple, list)) or len(data) < 2:
        return False
    # More than two are rows, but for a tuple where it is known what rows are.
    known = shape is not None and isinstance(data, tuple)
    if len(data) > 2 and not known:
        return False
    try:
        first = tuple(np.shape(data[0]))
    except ValueError:  # lists of several lengths: said of x
        return isinstance(data, tuple)
    # One axis is a row; but where rows are known to be others, a tuple's first is a column.
    least = 1 if known else 2
    return len(first) >= least and first != shape


def _check_parameters(function: Callable[..., Any], name: str) -> None:
    """Raises InputError for a function that does not take (m, size)."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of C
        return
    try:
        signature.bind(0, 1)
    except TypeError:
        raise InputError(
            f"A function of data must take (m, size), a mini-batch's number and how many rows it "
            f"has; {name} takes {signature}."
        ) from None


def _count(items: Any) -> int:
    """Items of a PyDataset."""
    num, name = items.num_batches, type(items).__name__
    if num is None:
        raise InputError(f"{name} has no end (num_batches is None). Give it a number of items.")
    if not num:
        raise InputError(f"The data set is empty: {name} has no items.")
    return num


def _item(items: Any, i: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Item i of a PyDataset."""
    with as_before():
        made = items[int(i)]
    x, y = _parts(made)
    x = _numbers(x, f"Item {i} of {type(items).__name__}")
    return x, None if y is None else _column(y)


def _form(dataset: tf.data.Dataset, shape: tuple[int, ...] | None) -> tuple[bool, bool]:
    """Whether a Dataset's elements are mini-batches, and not rows; whether they have labels."""
    spec = dataset.element_spec
    x, y = _parts(spec)
    if not isinstance(x, tf.TensorSpec) or x.shape.rank is None:
        raise InputError(
            f"A tf.data.Dataset must have elements x or (x, y), tensors of known rank; its "
            f"element_spec is {spec}."
        )
    if not (x.dtype.is_floating or x.dtype.is_integer):
        raise InputError(f"A tf.data.Dataset must have real numbers, got {x.dtype.name}.")
    rank: Any = x.shape.rank
    rows_first = rank > 0 and x.shape[0] is None
    return rows_first if shape is None else rank > len(shape), y is not None


def _arrays(element: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """(x, y or None) of a Dataset's mini-batch."""
    x, y = _parts(element)
    return np.asarray(x), None if y is None else _column(y)


def _period(x: np.ndarray) -> int:
    """How many rows [n, ...] there are before they come again, in whatever order; or n.

    Where a data set is read over and over, each reading has the same rows, and so the same sum of
    their hashes. Few rows cannot pass for a reading by chance, since all later ones must agree.
    """
    flat = np.ascontiguousarray(x.reshape(len(x), -1))
    hashes = [hashlib.blake2b(row.data, digest_size=8).digest() for row in flat]
    sums = np.cumsum(np.frombuffer(b"".join([bytes(8), *hashes]), np.uint64))
    for num in range(1, len(x) // 2 + 1):
        if len({*np.diff(sums[::num]).tolist()}) == 1:
            return num
    return len(x)


def _parts(element: Any) -> tuple[Any, Any]:
    """(x, y or None) of x, (x,) or (x, y)."""
    if not isinstance(element, (tuple, list)):
        return element, None
    if len(element) not in (1, 2):
        raise InputError(
            f"A mini-batch is x or (x, y), data and classes; got {len(element)} values."
        )
    return element[0], element[1] if len(element) == 2 else None


def _as_array(x: Any, what: str) -> np.ndarray:
    # NumPy drops a mask without a word.
    if isinstance(x, np.ma.MaskedArray) and (num := int(np.ma.getmaskarray(x).sum())):
        raise InputError(f"{what} hold {num:,} masked values. Fill or remove them.")
    try:
        return np.asarray(x)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} must be an array of numbers ({error}).") from None


def _numbers(x: Any, what: str) -> np.ndarray:
    x = _as_array(x, what)
    if x.dtype == bool or not np.issubdtype(x.dtype, np.number) or x.dtype.kind == "c":
        raise InputError(f"{what} must be real numbers, got {x.dtype.name} {list(x.shape)}.")
    if x.ndim < 2:
        raise InputError(
            f"{what} must be rows [n, ...] of at least two axes, got shape {list(x.shape)}. One "
            "column is x[:, None]."
        )
    return x


def _column(y: Any) -> np.ndarray:
    """Labels [n] of [n] or [n, 1]; others as they are."""
    y = _as_array(y, "The labels")
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _labels(y: Any, num: int) -> np.ndarray:
    """Labels [num] of so many rows in memory."""
    y = _column(y)
    if y.shape != (num,):
        raise InputError(
            f"{num:,} rows of data need as many labels, integers [{num}], which are the second of "
            f"a pair (x, y); got {y.dtype.name} {list(y.shape)}.{_of_one_hot(y)}"
        )
    return y


def _of_one_hot(y: np.ndarray) -> str:
    return " One-hot labels become integers by y.argmax(axis=1)." if y.ndim == 2 else ""


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray | None]], num: int):
    x = np.concatenate([x for x, _ in parts])[:num]
    labels = [y for _, y in parts if y is not None]
    return x, np.concatenate(labels)[:num] if labels else None


def order_seed(seed: int, stream: str) -> int:
    """The seed of an order of records, from a run's."""
    return rng.python_seed(rng.stream(seed, stream))
