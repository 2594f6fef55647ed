# SPDX-License-Identifier: GPL-2.0-or-later
"""Names and primary headers of products, by the rules of ESO's data flow system."""

import contextlib
import copy
import dataclasses
import datetime
import itertools
import logging
import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muse_core.io.delivery import Delivery, Destination
from muse_core.io.fitsreader import FitsFile
from muse_core.io.signature import check_signature, sign_file
from muse_core.model.cards import COMMENTARY, card
from muse_core.model.declare import ParameterSpec, ProductSpec, QcSpec
from muse_core.model.fits import Card, Header
from muse_core.model.header import get_string, has
from muse_core.model.record import record

_LOG = logging.getLogger(__name__)

DICTIONARY = "PRO-1.16"
#: Keywords of the product that are taken from the first raw frame; `ESO` keywords are treated apart.
_FROM_RAW = frozenset(
    (
        *("ORIGIN", "TELESCOP", "INSTRUME", "OBJECT", "RA", "DEC", "EPOCH", "EQUINOX", "RADESYS"),
        *("DATE-OBS", "MJD-OBS", "UTC", "LST", "PI-COI", "OBSERVER", "ARCFILE"),
    )
)
_NOT_FROM_RAW = re.compile(r"^ESO (DPR|DRS|PRO|QC) ")
_HISTORY = re.compile(r"^ESO PRO REC\d+ ")
_STRUCTURE = re.compile(
    r"^(SIMPLE|BITPIX|NAXIS\d*|EXTEND|XTENSION|PCOUNT|GCOUNT|BZERO|BSCALE|BLANK|CHECKSUM|DATASUM|DATAMD5|"
    r"COMMENT|END|)$"
)
_ERASED = re.compile(r"^(ESO DPR |ESO PRO |ARCFILE$|ORIGFILE$|CHECKSUM$|DATASUM$|HDRVER$)")
_QC_NUMBER = re.compile(r"(?<=[A-Z])[a-z](?= |$)")


@record
class Product:
    """A product that has been written."""

    path: Path
    tag: str
    level: str
    frame_type: str


@record
class Made:
    """The products that a part of a run has made, and the length of each file in bytes."""

    products: list[Product]
    lengths: list[int]


@record
class RawFrame:
    """A raw frame that was used: its file, tag and primary header."""

    path: Path
    tag: str
    header: Header


class CardList:
    """Cards in order, looked up by keyword; cheaper to build than a Header of thousands of cards."""

    def __init__(self, cards: Iterable[Card] = ()):
        self._cards: dict[str, Card] = {}
        self._commentary: list[Card] = []
        for item in cards:
            self.put(item)

    def put(self, item: Card) -> None:
        """Add a card, or replace the one of the same keyword in its place; lines of commentary all stay, at the end."""
        if item.keyword in COMMENTARY:
            self._commentary.append(item)
        else:
            self._cards[item.keyword] = item

    def set(self, key: str, value: Any, comment: str = "") -> None:
        """Add or replace a keyword."""
        self._cards[key] = card(key, value, comment)

    def remove(self, pattern: re.Pattern[str]) -> list[Card]:
        """Remove the cards whose keyword matches (search) and return them."""
        gone = [key for key in self._cards if pattern.search(key)]
        return [self._cards.pop(key) for key in gone]

    def __contains__(self, key: str) -> bool:
        return key in self._cards

    def __getitem__(self, key: str) -> Card:
        return self._cards[key]

    def __iter__(self) -> Iterator[Card]:
        return itertools.chain(self._cards.values(), self._commentary)


def _parameter_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _default_text(value: Any) -> str:
    return f"Default: '{value}'" if isinstance(value, str) else f"Default: {_parameter_text(value)}"


class ProductFactory:
    """Makes names and headers of the products of one run.

    Parameters
    ----------
    recipe : str
        Name of the recipe.
    pipeline : str
        ``name/number.number...`` for PIPE ID.
    system : str
        For DRS ID.
    parameters : sequence of (ParameterSpec, value)
        Effective parameters.
    products : sequence of ProductSpec
        Declared products.
    qc_prefix : str
        Prefix of the QC keywords.
    destination : Destination
        Where products go.
    inputs : sequence of Path
        All frames, which no product may replace.
    marks : sequence of Card
        Further keywords of every product.
    extras : sequence of ProductSpec
        Products beyond those of the reference: they come after all others.
    """

    def __init__(
        self,
        *,
        recipe: str,
        pipeline: str,
        system: str,
        parameters: Sequence[tuple[ParameterSpec, object]],
        products: Sequence[ProductSpec],
        qc_prefix: str,
        destination: Destination,
        inputs: Sequence[Path] = (),
        marks: Sequence[Card] = (),
        extras: Sequence[ProductSpec] = (),
    ):
        self._marks = marks
        self._recipe, self._pipeline, self._system = recipe, pipeline, system
        self._parameters = parameters
        self._specs = {spec.tag: spec for spec in (*products, *extras)}
        self._extra_tags = {spec.tag for spec in extras}
        self._qc_prefix = qc_prefix
        self.destination = destination
        self._directory = self._folder = destination.directory
        self._raw: list[RawFrame] = []
        self._calibrations: dict[tuple[Path, str], str | None] = {}
        self._counters: dict[str, int] = {}
        self._first_calibration = Header()
        self._expected: list[tuple[bool, str]] = []
        self._inputs = inputs
        self.products: list[Product] = []

    @property
    def pipeline(self) -> str:
        """PIPE ID."""
        return self._pipeline

    @property
    def directory(self) -> Path:
        """Where products go."""
        return self._directory

    def expect(self, save: Container[str], n_exposures: int, n_images: int) -> None:
        """Say what is going to be made, so that it is known before the work whether it can have its place.

        Parameters
        ----------
        save : container of str
            What the parameter `save` asks for.
        n_exposures, n_images : int
            Numbers of exposures and of images of the field.
        """
        counts = {"master": 1, "dateobs": n_exposures, "file": n_exposures, "sequence": n_images}
        for spec in self._specs.values():
            if not spec.save or spec.save in save:
                last = spec.tag in self._extra_tags
                self._expected += [(last, _file_name(spec, n)) for n in range(1, counts[spec.mode] + 1)]

    @contextlib.contextmanager
    def all_or_none(self, folder: Path | None = None) -> Iterator[None]:
        """Write products into a hidden folder, and give them their places at the end of the block.

        After an error there is none of them, and older products of the same names are untouched. In the end `products`
        are sorted by tag and name, extras last, and have their final names.

        Parameters
        ----------
        folder : Path, optional
            Folder to use, which is kept after an error; by default a new one.

        Raises
        ------
        ProductError
            The folder of the products is not writable, or a product cannot have its place there.
        ResourceError
            Another run is at work there.
        """
        with Delivery(self.destination, self._recipe) as delivery:
            delivery.refuse_unusable([name for _, name in sorted(self._expected)], self._inputs)
            self._folder = folder or delivery.folder
            try:
                for unfinished in self._folder.glob(".*.part"):  # of the run that was killed
                    unfinished.unlink()
                yield
                self._close_gaps()
                made = sorted(self.products, key=lambda p: (p.tag in self._extra_tags, p.tag, p.path.name))
                places = delivery.commit([self._folder / product.path.name for product in made])
            finally:
                self._folder = self._directory
            self.products[:] = [dataclasses.replace(p, path=place) for p, place in zip(made, places, strict=True)]

    def of_exposure(self, number: int, header: Header) -> "ProductFactory":
        """Return a factory of the products of an exposure: wherever that is reduced, their names have its number.

        Parameters
        ----------
        number : int
            Number of the exposure, from 1.
        header : Header
            Its header.
        """
        part = copy.copy(self)
        part._expected, part._inputs, part.products = [], (), []
        part._counters = dict.fromkeys(self._specs, number - 1)
        date = get_string(header, "DATE-OBS")
        if date is not None and all(spec.mode != "file" for spec in self._specs.values()):
            part._raw = _of_date(self._raw, date)  # those of all exposures are many
        return part

    def elsewhere(self, destination: Destination) -> "ProductFactory":
        """Return a factory of products in another place, whose headers tell what those of ours would tell now."""
        other = copy.copy(self)
        other.destination, other._directory, other._folder = (destination, *[destination.directory] * 2)
        other._raw, other._calibrations = list(self._raw), dict(self._calibrations)
        other._counters, other._expected, other.products = {}, [], []
        return other

    def include(self, other: "ProductFactory") -> None:
        """List the raw frames and calibrations of another factory, too."""
        self._raw += [frame for frame in other._raw if frame not in self._raw]
        self._calibrations |= {key: md5 for key, md5 in other._calibrations.items() if key not in self._calibrations}

    def note(self, spec: ParameterSpec, value: object) -> None:
        """Let the headers of what is made from now on tell of a further parameter."""
        self._parameters = [*self._parameters, (spec, value)]

    def adopt(self, made: Made) -> None:
        """Count the products of an exposure, see `of_exposure`, among ours."""
        self.products += [dataclasses.replace(p, path=self._directory / p.path.name) for p in made.products]

    def _close_gaps(self) -> None:
        """Number the products of the exposures without gaps, where not each exposure has made one."""
        found: dict[str, list[Product]] = {}
        for product in sorted(self.products, key=lambda product: product.path.name):
            if self._specs[product.tag].mode in ("dateobs", "file"):
                found.setdefault(product.tag, []).append(product)
        for tag, products in found.items():
            for number, product in enumerate(products, 1):
                name = _file_name(self._specs[tag], number)
                if name != product.path.name:
                    path = self._folder / product.path.name
                    sign_file(path, changes={"PIPEFILE": name})
                    path.rename(self._folder / name)
                    self.products[self.products.index(product)] = dataclasses.replace(
                        product, path=product.path.with_name(name)
                    )
                    _LOG.info("%s is %s now: not each exposure has made one", product.path.name, name)

    def checkpoint(self) -> Made:
        """Make the products so far last; return what `restore` needs."""
        lengths = []
        for product in self.products:
            with open(self._folder / product.path.name, "rb") as file:
                os.fsync(file.fileno())
                lengths.append(os.fstat(file.fileno()).st_size)
        return Made(list(self.products), lengths)

    def restore(self, made: Made) -> None:
        """Go on after the products of an earlier run that are in the folder.

        Raises
        ------
        ProductError
            One of them is missing, or not as it was written.
        """
        for product, length in zip(made.products, made.lengths, strict=True):
            check_signature(self._folder / product.path.name, length)
        self.products.clear()
        self.adopt(made)

    def use_raw(self, frames: Iterable[RawFrame]) -> None:
        """Say which raw frames are used, in the order of the set of frames."""
        self._raw.extend(frames)

    def use_calibration(self, path: Path, tag: str) -> None:
        """Say that a calibration has been used; each is listed once, by tag, then in this order."""
        if (path, tag) not in self._calibrations:
            with FitsFile(path) as file:
                self._calibrations[path, tag] = get_string(file.primary.header, "DATAMD5")
                if len(self._calibrations) == 1:
                    self._first_calibration = file.primary.header.copy()

    @property
    def tags_used(self) -> set[str]:
        """Tags of the calibrations that are in use so far."""
        return {tag for _, tag in self._calibrations}

    @property
    def calibrations_used(self) -> int:
        """Number of calibrations that are in use so far."""
        return len(self._calibrations)

    @contextlib.contextmanager
    def using(self, n_calibrations: int) -> Iterator[None]:
        """Make headers that list the first `n_calibrations` only: a product does not list what was used after it."""
        everything = self._calibrations
        self._calibrations = dict(list(everything.items())[:n_calibrations])
        try:
            yield
        finally:
            self._calibrations = everything

    def next_path(self, tag: str) -> Path:
        """Return the path under which to write the next product of `tag`."""
        self._counters[tag] = self._counters.get(tag, 0) + 1
        return self._folder / _file_name(self._specs[tag], self._counters[tag])

    def place_of(self, product: Product) -> Path:
        """Return where a product that has been registered is now."""
        return self._folder / product.path.name

    def register(self, path: Path, tag: str) -> None:
        """Record a product that is complete."""
        spec = self._specs[tag]
        self.products.append(Product(self._directory / path.name, tag, spec.level, spec.frame_type))
        _LOG.debug("Saved %s as %s", tag, path.name)

    def header(self, tag: str, source: Iterable[Card], path: Path, structure: Header) -> Header:
        """Make the primary header of a product.

        Parameters
        ----------
        tag : str
            PRO CATG.
        source : iterable of Card
            Keywords of the object that is saved, with QC; structural ones are left out.
        path : Path
            Name of the product.
        structure : Header
            Structural cards of the primary HDU.

        Returns
        -------
        Header
            Complete but for DATAMD5, CHECKSUM and DATASUM.
        """
        spec = self._specs[tag]
        cards = CardList(card(c.keyword, c.value, c.comment) for c in source if not _STRUCTURE.match(c.keyword))
        _rename_radecsys(cards)
        kept = [c for c in cards if c.keyword == "OBJECT" or c.keyword.startswith("ESO DRS MUSE")]
        cards.remove(re.compile(r"^ESO DRS MUSE"))
        cards.remove(_ERASED)
        raw = self._raw_frames(spec, cards)
        self._comment_qc(spec, cards)
        ancestor = raw[0].header if raw else self._first_calibration
        self._copy_from_raw(ancestor, cards)
        self._write_history(tag, ancestor, raw, path, cards)
        for item in (*kept, *self._marks):
            cards.put(item)
        header = structure.copy()
        header.extend(Header(list(cards)), unique=False, bottom=True)
        return header

    def _raw_frames(self, spec: ProductSpec, cards: CardList) -> list[RawFrame]:
        if spec.mode == "file":
            number = self._counters[spec.tag]
            return self._raw[number - 1 : number]
        if spec.mode != "dateobs" or "DATE-OBS" not in cards:
            return self._raw
        return _of_date(self._raw, cards["DATE-OBS"].value)

    def _comment_qc(self, spec: ProductSpec, cards: CardList) -> None:
        patterns = [(re.compile("^" + _QC_NUMBER.sub(r"\\d+", q.name) + "$"), q) for q in spec.qc]
        for item in list(cards):
            if not item.keyword.startswith(self._qc_prefix):
                continue
            name = item.keyword.removeprefix(self._qc_prefix)
            for pattern, qc in patterns:
                if pattern.match(name):
                    cards.set(item.keyword, _qc_value(item, qc), _qc_comment(name, qc))
                    break

    def _copy_from_raw(self, raw: Header, cards: CardList) -> None:
        renamed = CardList(raw.cards)
        _rename_radecsys(renamed)
        for item in renamed:
            key = item.keyword
            if key.startswith("ESO "):
                if _NOT_FROM_RAW.match(key) and not _HISTORY.match(key):
                    continue
            elif key not in _FROM_RAW:
                continue
            if key in cards and not key.startswith("ESO ") and type(cards[key].value) is not type(item.value):
                continue
            cards.set(key, item.value, item.comment)

    def _write_history(self, tag: str, first: Header, raw: list[RawFrame], path: Path, cards: CardList) -> None:
        n = 1
        while has(first, f"ESO PRO REC{n} ID"):
            n += 1
        ancestor = get_string(first, "ESO PRO ANCESTOR") or get_string(first, "ARCFILE")
        if ancestor:
            cards.set("ESO PRO ANCESTOR", ancestor, "Ancestor of the product")
        now = datetime.datetime.now(datetime.UTC)
        cards.set("DATE", now.strftime("%Y-%m-%dT%H:%M:%S"), "file creation date (YYYY-MM-DDThh:mm:ss UT)")
        cards.set("PIPEFILE", path.name, "Filename of data product")
        cards.set("ESO PRO DID", DICTIONARY, "Data dictionary for PRO")
        cards.set("ESO PRO CATG", tag, "Category of pipeline product frame")
        cards.set("ESO PRO TYPE", "REDUCED", "Product type")
        cards.set("ESO PRO TECH", "IFU", "Observation technique")
        science = self._specs[tag].science or get_string(first, "ESO DPR CATG") == "SCIENCE"
        cards.set("ESO PRO SCIENCE", science, "Scientific product if T")
        rec = f"ESO PRO REC{n} "
        cards.set(rec + "ID", self._recipe, "Pipeline recipe (unique) identifier")
        cards.set(rec + "DRS ID", self._system, "Data Reduction System identifier")
        cards.set(rec + "PIPE ID", self._pipeline, "Pipeline (unique) identifier")
        for i, frame in enumerate(raw, 1):
            cards.set(f"{rec}RAW{i} NAME", frame.path.name, "File name of raw frame")
            cards.set(f"{rec}RAW{i} CATG", frame.tag, "Category of raw frame")
        cards.set("ESO PRO DATANCOM", len(raw), "Number of combined frames")
        for i, ((file, cal_tag), md5) in enumerate(sorted(self._calibrations.items(), key=_tag_of), 1):
            cards.set(f"{rec}CAL{i} NAME", file.name, "File name of calibration frame")
            cards.set(f"{rec}CAL{i} CATG", cal_tag, "Category of calibration frame")
            if md5:
                cards.set(f"{rec}CAL{i} DATAMD5", md5, "MD5 signature of calib frame")
        for i, (spec, value) in enumerate(self._parameters, 1):
            cards.set(f"{rec}PARAM{i} NAME", spec.name, spec.help)
            cards.set(f"{rec}PARAM{i} VALUE", _parameter_text(value), _default_text(spec.default))


def _of_date(frames: Sequence[RawFrame], date: str) -> list[RawFrame]:
    """Return the raw frames of an exposure."""
    return [frame for frame in frames if get_string(frame.header, "DATE-OBS", "").startswith(date)]


def _file_name(spec: ProductSpec, number: int) -> str:
    if spec.mode == "master":
        return f"{spec.tag}{spec.suffix}"
    return f"{spec.tag}_{number:04d}{'-00' if spec.mode == 'file' else ''}{spec.suffix}"


def _tag_of(item: tuple[tuple[Path, str], str | None]) -> str:
    return item[0][1]


def _rename_radecsys(cards: CardList) -> None:
    if "RADECSYS" in cards:
        old = cards["RADECSYS"]
        cards.remove(re.compile("^RADECSYS$"))
        cards.set("RADESYS", old.value, old.comment)


def _qc_value(item: Card, qc: QcSpec) -> Any:
    return np.float32(item.value) if qc.type == "float" else item.value


def _qc_comment(name: str, qc: QcSpec) -> str:
    text = f"[{qc.unit}] {qc.comment}" if qc.unit else qc.comment
    number = re.search(r"\d+", name)
    letter = _QC_NUMBER.search(qc.name)
    if number and letter:
        text = re.sub(rf"\b{letter.group()}\b", number.group(), text)
    return text
