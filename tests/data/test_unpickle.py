"""Restricted pickles: data of every likely writer comes through, everything that could run is refused by name."""

from __future__ import annotations

import base64
import contextlib
import os
import pickle
import zlib
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gazeeval.data.unpickle import restricted_load
from gazeeval.errors import DataError

# The same small frame (index [4, 9]) as older pandas wrote it: zlib, base 85.
OLD_PANDAS = {
    "pandas 1.5.3, protocol 4": (
        "c-n<i-)j>=5YAmM{h?wlq82JX_*7r=BqAuJSTVHGD85Qq_U<OxrFWZScaJvELVd75VBb1@(Er3g!T-oNoxMvi(SRG+%<j$1_sz~Xr_uH"
        "GQlnaKqu?s#rj?8|v<8~zfNt$IxBN|IU*VI_c!Jw5V);;`do=4Vl?APMW?DH{d<fd0yY(s?B?s^7GljeRlL(f{*!&4Wx6Vpc$mAdc7W)"
        "|Qd{32mF|M=cWo9MUnvW?f(~yjmvARsGcWhRU=vF9q<#L7H#uwZTVm!x>xZMrt7oMS5cg@s}3tx!~<#W8esJ}0{;3f8Yz5QRbs;%3w7+"
        ">z*3F?<=gp+@yYquJglISSn-87j@paS$LK3zBTySOQCiw#dh+?^+}>B7Mbw0O7>xQ6@Lp5X3yVDZ?e_#a9*MR`A0;PGDtwmnXtnz>>MN"
        "F?}ThM-D=blGWt|LWJbPWwk~Kp#6ht2G%8HJPv*&5}9yk#2Kd6e%2mX~o=-lx{EuhiuQ^(Tj<F*PPmws8SLd{##E(hZhyoWtk6|Owk2L"
        "q)Q<|bDaokeACLD3h=aCq`Xvn<(Yq;w{B|@9nuSEnGmBrWuHBrVIe*&cu+cQQA?spFV<$XAU@Sd;5V8JQWsJ4l}yKn<zRVLTAzq=YiTe"
        "}&@Hn;#)p;pfM?n0(6F>DNKD)U%Xkbl6&I$ATfYI9Lte4"
    ),
    "pandas 2.2.3, protocol 2": (
        "c-nQ7*>ck`6o%6@ZHd`hwzBVw*#c!PYs%6V2m}zDS%Q!qB{Fr~{FXe>88QPGZQ4hGCxL6Ocq)*Tqzo{~GnQnX<@=A1K4ya^i>pi)g4u)"
        "@Y6)v_=O$BZ%C3+({0V(6WL+<p$z*7wo}m8^k1$p|iCH8I4HmOHPo#4_nhj>|b#@MNJ#!j`zWi<P&@^s_!A!)dZyX#91aaDE&K0N)+(;"
        "u8vLs=14o!G48%vd>fpRd|F>`cKdy1h_W*#d7?N;T1ba-qQ4)R`~M)u)&gL;mb3ga=XT)--V)orXHSnHPh^pjn{a5rRC%{8^>h?mtK;W"
        "*YUEw-_qV1rxgx6v+RW4T<u^HUG|DrFQl`AZ`24eL{5VMew)V^rvTn+dikZ1n?5{WR2~VoDtug@Mkrt&}kgZEPplQOdTllVFz^5QD;s+"
        "ATEc9)i8gr29k%t~QSS2JQgCK@BJV#X4lMMl!we{cEwint*G#4ig+vIO>aSCbWS#MsVCf6bMfIhB#>;#t2Ti)=op5?n2xj#~A~0mf&2k"
        "LLYGcPn4p<xW81v1=kzW=d#IzkV{<j2K27Z<5c2O1()6F;<wLce3>r(=qz{zSEeUcbf6hmxN2ClrJP|c5=<D@YXsNZxKY7P_piRJ^7mX"
        "8d?vX=WB!ibHeVb}{@<)?G1bC!r{AmkBH&i95VuVs?huqrA#(G$E6!<M_gvdwVWUpND$2G9?{VMD>sf?6VM!q7@W9GdVM9xQsHG6!CW!"
        "SV!=rM#fX4(+#H7%<pSof><ujAgBY19WKaUq;L$BF#-M^XdHQP(`Q(qBO6khwn2BidV_yQO~Cmq%OjliNAY4*0GYWK9k6|;JE*=v@TDV"
        "0dnTM$+utwpRZ5w`Hw8#TvKH2Y4{YTDGj%oL{)^LZpOvnW%)@C(N1T!8"
    ),
}


def dump(content: object, path: Path, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


class Call:
    """Pickles as the call of a function, as malicious pickles do."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def as_lists(frame: pd.DataFrame) -> dict[Any, list[Any]]:
    columns = {name: [np.asarray(value).tolist() for value in frame[name]] for name in frame.columns}
    return columns | {"index": frame.index.tolist()}


with pd.option_context("mode.string_storage", "python"):  # Arrow's, where pyarrow is installed, is refused
    FRAMES = {
        "numbers": pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan], "c": [True, False]}),
        "text": pd.DataFrame({"a": ["x", None], "b": pd.Categorical(["u", "v"])}),
        "lists": pd.DataFrame({"a": [[1, 2], [3.0]], "b": [np.arange(2), np.arange(3)]}),
        "index": pd.DataFrame({"a": [1, 2]}, index=[7, 3]),
        "names": pd.DataFrame({"a": [1, 2]}, index=["u", "v"]),
        "columns": pd.DataFrame([[1, 2.5]], columns=pd.Index(["a", "b"], dtype=object)),
        "part": pd.DataFrame({"a": range(9), "b": range(9)})[::3],
        "joined": pd.concat([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})]),
        "none": pd.DataFrame({"a": np.empty(0)}),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", FRAMES)
def test_frames_come_through(name: str, protocol: int, tmp_path: Path) -> None:
    frame = FRAMES[name]
    loaded = restricted_load(dump(frame, tmp_path / "f.pkl", protocol))
    assert isinstance(loaded, pd.DataFrame)
    assert repr(as_lists(loaded)) == repr(as_lists(frame))


@pytest.mark.parametrize("writer", OLD_PANDAS)
def test_frames_of_older_pandas_come_through(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "old.pkl"
    path.write_bytes(zlib.decompress(base64.b85decode(OLD_PANDAS[writer])))
    loaded = restricted_load(path)
    assert isinstance(loaded, pd.DataFrame)
    assert loaded.to_dict("list") == {
        "img_id": [1, 2],
        "x": [1.5, 2.0],
        "hierarchy": ["species", "genus"],
        "times": [[0.1, 0.2], [3.0]],
    }
    assert loaded.index.tolist() == [4, 9]


ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2),
    np.asfortranarray(np.ones((2, 3), np.float32)),
    np.arange(3).astype(">i4"),
    np.array(["ab", "c"]),
    np.array([1, "a", None], dtype=object),
    np.array([True, False]),
    np.empty((0, 2)),
]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_containers_arrays_and_scalars_come_through(protocol: int, tmp_path: Path) -> None:
    plain: dict[str, Any] = {"a": [1, 2.5, "x", None, True, b"raw"], "b": (1, {2}, frozenset([3]), 1 + 2j, slice(1, 2))}
    plain |= {"o": OrderedDict(a=1), "d": defaultdict(list, a=[1]), "n": [np.float64(0.1), np.int32(7), np.bool_(True)]}
    assert restricted_load(dump(plain, tmp_path / "p.pkl", protocol)) == plain
    loaded: Any = restricted_load(dump(ARRAYS, tmp_path / "a.pkl", protocol))
    for got, expected in zip(loaded, ARRAYS, strict=True):
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype.newbyteorder("=") or protocol == 5


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4095, 4096, 4097, 20_000])
def test_long_lists_of_floats_come_through(count: int, protocol: int, tmp_path: Path) -> None:
    """They are read in runs, which frames, other values and the end of the file cut."""
    floats = np.random.default_rng(0).normal(size=count).tolist()
    content = [floats, *(value for pair in zip(floats, range(count), strict=True) for value in pair), *floats]
    assert restricted_load(dump(content, tmp_path / "f.pkl", protocol)) == content


ATTACKS = {
    "system": (Call(os.system, "touch {mark}"), f"{os.system.__module__}.system"),
    "eval": (Call(eval, "open({mark!r}, 'w')"), "builtins.eval"),
    "getattr": (Call(getattr, [], "append"), "builtins.getattr"),
    "in a frame": (pd.DataFrame({"a": [[1], Call(os.system, "touch {mark}")]}), f"{os.system.__module__}.system"),
    "numpy": (Call(np.load, "x.npy"), "numpy.load"),
    "pandas": (Call(pd.read_pickle, "x.pkl"), "read_pickle"),
    "class": (Path("x"), "pathlib"),
}


def _armed(attack: object, mark: Path) -> object:
    if isinstance(attack, pd.DataFrame):
        return pd.DataFrame({"a": [_armed(value, mark) for value in attack["a"]]})
    if isinstance(attack, Call):
        function, args = attack.call
        return Call(function, *(arg.format(mark=str(mark)) if isinstance(arg, str) else arg for arg in args))
    return attack


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", ATTACKS)
def test_code_is_refused_by_name_and_not_run(name: str, protocol: int, tmp_path: Path) -> None:
    attack, named = ATTACKS[name]
    mark = tmp_path / "was_run"
    path = dump(_armed(attack, mark), tmp_path / "evil.pkl", protocol)
    with pytest.raises(DataError, match=r"evil\.pkl: refused, it tried to import .*CSV") as caught:
        restricted_load(path)
    assert named in str(caught.value)
    assert not mark.exists()


def test_external_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "external.pkl"
    path.write_bytes(b"\x80\x04\x8c\x04evilQ.")  # push 'evil', load the persistent id
    with pytest.raises(DataError, match="load the external object 'evil'"):
        restricted_load(path)


@pytest.mark.parametrize("module", ["pandas.core.frame", "numpy", "gazeeval.data.unpickle"])
def test_an_allowed_module_allows_none_of_its_other_names(module: str, tmp_path: Path) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(f"c{module}\nos.system\n(S'true'\ntR.".encode())
    with pytest.raises(DataError, match=r"import .*os\.system"):
        restricted_load(path)


def test_a_forged_dtype_cannot_turn_bytes_into_objects(tmp_path: Path) -> None:
    """With numpy's own dtype, the state below clears the flags that keep raw bytes from becoming pointers."""
    forged = b"cnumpy\ndtype\n(S'O8'\nI00\nI01\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
    frombuffer = b"(C\x08\x01\x00\x00\x00\x00\x00\x00\x00" + forged + b"(I1\ntS'C'\ntR."
    path = tmp_path / "forged.pkl"
    path.write_bytes(b"\x80\x03cnumpy._core.numeric\n_frombuffer\n" + frombuffer)
    with pytest.raises(DataError, match="OBJECT array"):
        restricted_load(path)
    path.write_bytes(b"\x80\x03cnumpy\nndarray\n((I1\nt" + forged + b"tR.")
    with pytest.raises(DataError, match=r"tried to call numpy\.ndarray"):
        restricted_load(path)
    path.write_bytes(b"\x80\x03cnumpy\ndtype\n(S'V8'\ntR" + b".")
    assert not isinstance(restricted_load(path), np.dtype)


@pytest.mark.parametrize(
    "content", [b"", b"img_id,x,y\n1,2,3\n", b"\x80\x04", pickle.dumps([1, 2, 3])[:-3], b"\x80\x09.", b"."]
)
def test_empty_truncated_and_other_files_are_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.pkl: damaged or not a pickle, got [\d,]+ bytes"):
        restricted_load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.pkl: cannot be read"):
        restricted_load(tmp_path / "absent.pkl")


@pytest.mark.parametrize("shape", [(3,), (-1,), (2**61,), ("2",), (2**31, 2**33)])
@pytest.mark.parametrize(("code", "content"), [("O8", [1, 2]), ("f8", bytes(16)), ("U2", b"")])
def test_an_array_whose_data_do_not_fill_its_shape(
    shape: tuple[int, ...], code: str, content: object, tmp_path: Path
) -> None:
    """The fuzz test below found that numpy itself reads past the end of a list that is too short."""

    class Forged:
        def __reduce__(self) -> tuple[object, ...]:
            return reconstruct, (np.ndarray, (0,), b"b"), (1, shape, np.dtype(code), False, content)

    reconstruct = np.zeros(1).__reduce__()[0]
    path = tmp_path / "forged.pkl"
    path.write_bytes(pickle.dumps(Forged(), protocol=2))
    with pytest.raises(DataError, match="array of shape"):
        restricted_load(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x80\x02cpandas\nDataFrame\n}X\x01\x00\x00\x00aK\x01sb.", "tried to change a type"),
        (b"\x80\x02cpandas\nDataFrame\n)R.", r"tried to call pandas\.\S*DataFrame"),
        (b"\x80\x02cbuiltins\nlist\n)R.", r"tried to call builtins\.list"),
        (b"\x80\x02cbuiltins\nbytes\nK\x09\x85\x81.", r"tried to make a gazeeval.*make"),
        (b"\x80\x02cbuiltins\nbytes\nK\x09\x85R.", r"bytes of \(9,\)"),
        (b"\x80\x02cbuiltins\nset\nX\x01\x00\x00\x00a\x85R.", "set of a str"),
        (b"\x80\x02cbuiltins\nslice\nK\x00K\xff\x86R.", "255 rows or columns in 25 bytes"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.", "encoding 'hex'"),
        (b"\x80\x02}()" + b"\x85" * 60 + b"K\x01u.", "more than 50 tuples"),
        (b"\x80\x02]q\x00h\x00a.", "again and again"),
        (b"\x80\x02NK\x01a.", "put values into a NoneType"),
    ],
)
def test_what_harmless_names_could_be_used_for(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "crafted.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem):
        restricted_load(path)


def test_an_index_of_the_memo_costs_no_memory(tmp_path: Path) -> None:
    """The unpickler in C would make room for 2^31 entries, and fill it with zeros."""
    path = tmp_path / "memo.pkl"
    path.write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")
    assert restricted_load(path) == []


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")
    with pytest.raises(DataError, match=r"pipe\.pkl: cannot be read \(not a regular file"):
        restricted_load(tmp_path / "pipe.pkl")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # CPython's own, on a cut bytearray
@settings(max_examples=150, deadline=None, derandomize=True)  # a wider search is a task of its own
@given(st.data())
def test_damage_anywhere_gives_data_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.pkl"
    content = bytearray(pickle.dumps(FRAMES["lists"], protocol=data.draw(st.sampled_from([2, 4]))))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        restricted_load(path)
