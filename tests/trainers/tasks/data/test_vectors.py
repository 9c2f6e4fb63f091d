"""Tables in files."""

import numpy as np
import pytest

from tf_mixed_nash.errors import InputError
from trainers.tasks.data import vectors as sut

X = np.arange(30.0).reshape(10, 3)


def test_every_format_gives_the_same_rows(tmp_path):
    np.save(tmp_path / "a.npy", X)
    np.savez(tmp_path / "b.npz", data=X, other=X)
    np.savez(tmp_path / "c.npz", X, labels=np.arange(10))
    (tmp_path / "d.csv").write_text("x,y,z\n" + "\n".join(",".join(map(str, r)) for r in X) + "\n")
    np.savetxt(tmp_path / "e.csv", X, delimiter=",")
    for file in sorted(tmp_path.iterdir()):
        data, held_out = sut.read(str(file), held_out=0.0)
        np.testing.assert_array_equal(data.x, X)
        assert held_out is None
        assert data.labelled == (file.name == "c.npz")


def test_some_rows_are_held_out_by_the_seed(tmp_path):
    np.save(tmp_path / "a.npy", X)
    train, held = sut.read(str(tmp_path / "a.npy"), 0.3, seed=1)
    assert sorted([*train.x[:, 0], *held.x[:, 0]]) == X[:, 0].tolist()
    assert len(held.x) == 3
    _, same = sut.read(str(tmp_path / "a.npy"), 0.3, seed=1)
    np.testing.assert_array_equal(same.x, held.x)
    others = [sut.read(str(tmp_path / "a.npy"), 0.3, seed=s)[1].x for s in range(2, 6)]
    assert any((o != held.x).any() for o in others)


def test_one_column_is_a_table(tmp_path):
    np.save(tmp_path / "a.npy", X[:, 0])
    assert sut.read(str(tmp_path / "a.npy"), 0.0)[0].x.shape == (10, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3\n", "row 2 has 1 columns, the first 2"),
        ("a,b\n1,x\n", "row 1 holds 'x', which is no number"),
        ("1,nan\n", "hold NaN"),
        ("", "must be rows|is empty|shape"),
    ],
)
def test_a_bad_csv_is_refused(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        sut.read(str(tmp_path / "a.csv"), 0.0)


def test_what_is_no_table_is_refused(tmp_path):
    for path, message in ((None, "needs --config.data.path"), ("none.npy", "There is no file")):
        with pytest.raises(InputError, match=message):
            sut.read(path)
    (tmp_path / "a.npy").write_bytes(b"no")
    np.save(tmp_path / "b.npy", np.zeros((2, 2, 2)))
    np.savez(tmp_path / "c.npz", a=X, b=X)
    for name, message in (("a", "cannot be read"), ("b", "shape"), ("c", "it holds a, b")):
        (file,) = tmp_path.glob(f"{name}.*")
        with pytest.raises(InputError, match=message):
            sut.read(str(file))
