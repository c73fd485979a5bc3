"""Splits by person and keys that name nobody."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scans_on_disk import SMALL, bids_site, read_rows

from distunlearn.errors import UserError
from distunlearn.prepare import PrepareConfig, shard
from distunlearn.prepare.assign import assign
from distunlearn.prepare.pseudonym import Secrets, pseudonym
from distunlearn.prepare.sources.scans import Found, Scan
from distunlearn.prepare.splits import draw_split, read_splits, split_by_person, split_people

CONFIG = PrepareConfig()
NAMES = st.one_of(
    st.integers(0, 30).map(str), st.integers(0, 30).map("{:03d}".format), st.text("abAB", min_size=1, max_size=3)
)
PLACES = st.lists(st.tuples(NAMES, st.sampled_from("ABC"), st.sampled_from(["", "1", "2"])), max_size=30)


def person(scan: Scan) -> str:
    """Who a scan is of, however their name is padded and capitalised."""
    name = scan.subject.lower()
    return str(int(name)) if name.isdigit() else name


@settings(max_examples=300, deadline=None)
@given(PLACES, PLACES)
def test_a_person_is_in_one_split_and_nobody_moves_when_others_are_added(
    first: list[tuple[str, str, str]], then: list[tuple[str, str, str]]
) -> None:
    """Over all sites, sessions, capitals and padding zeros; a split depends on the person alone."""
    some, more = ([scan(who, site, session=session) for who, site, session in places] for places in (first, then))
    splits = split_by_person(some, CONFIG, {})
    by_person: dict[str, set[str]] = {}
    for one in some:
        by_person.setdefault(person(one), set()).add(splits[one.site, one.subject])
    assert all(len(found) == 1 for found in by_person.values())
    later = split_by_person(some + more, CONFIG, {})
    assert all(later[who] == split for who, split in splits.items())


def test_the_shares_are_about_those_asked_for_and_the_salt_draws_anew() -> None:
    """Of 5000 people 20 % are in test and 10 % in val; another salt puts others there."""
    drawn = [draw_split(str(n), CONFIG) for n in range(5000)]
    assert abs(drawn.count("test") / 5000 - 0.2) < 0.02
    assert abs(drawn.count("val") / 5000 - 0.1) < 0.02
    other = PrepareConfig(split_salt="other")
    assert sum(draw_split(str(n), other) != drawn[n] for n in range(5000)) > 1000


def scan(
    subject: str, site: str = "A", split: str | None = None, traveller: str | None = None, session: str = ""
) -> Scan:
    """A scan of somebody."""
    return Scan(site, subject, session, None, "line 1", {}, split=split, traveller=traveller)


def test_the_split_file_wins_over_the_column_and_the_column_over_the_hash() -> None:
    """A file may name sites; who is in neither is drawn."""
    scans = [scan("1", split="val"), scan("2", split="val"), scan("2", site="B"), scan("3", traveller="T")]
    splits = split_by_person(scans, CONFIG, {("A", "2"): "test", (None, "1"): "train"})
    assert splits["A", "1"] == "train"
    assert splits["A", "2"] == "test"
    assert splits["B", "2"] == draw_split("2", CONFIG)
    assert splits["A", "3"] == "travelling"


def test_a_traveller_with_two_splits_is_refused() -> None:
    """Else the same brain would be trained on at one site and tested on at another."""
    scans = [scan("1", traveller="T"), scan("7", site="B", traveller="T")]
    assert set(split_by_person(scans, CONFIG, {}).values()) == {"travelling"}
    assert set(split_by_person(scans, CONFIG, {("A", "1"): "test", ("B", "7"): "test"}).values()) == {"test"}
    with pytest.raises(UserError, match="travelling here and in train at site A"):
        split_by_person(scans, CONFIG, {("A", "1"): "train"})


def test_a_split_file_that_does_not_fit_the_people_is_told(tmp_path: Path) -> None:
    """Zeros that a spreadsheet ate do no harm; who is only in the file, and who is not in it, is counted."""
    path = tmp_path / "splits.csv"
    path.write_text("id,split\n1,train\n2,test\n99,test\n")
    found = Found([scan("001"), scan("sub-02"), scan("3")])
    splits = split_people(found, CONFIG, path)
    assert (splits["A", "001"], splits["A", "sub-02"]) == ("train", "test")
    assert found.notes == [
        "split file: 1 of its 3 participants have no scan here",
        "split file: 1 of 3 people are not in it; their splits come from elsewhere",
    ]


def test_a_subject_with_two_splits_is_refused() -> None:
    """One of the two rows is wrong."""
    with pytest.raises(UserError, match="more than one split"):
        split_by_person([scan("1", split="train"), scan("1", split="test", session="2")], CONFIG, {})


def test_keys_are_hmacs_with_the_secret_of_the_site(tmp_path: Path) -> None:
    """The same name at two sites has two keys; without the secret the names cannot be tried out."""
    secrets = Secrets(tmp_path / "secrets")
    scans = [scan("1"), scan("1", site="B")]
    sites = assign(scans, split_by_person(scans, CONFIG, {}), secrets)
    one, other = sites["A"][0], sites["B"][0]
    assert one.key != other.key
    assert one.subject != other.subject
    message = b"".join(len(part).to_bytes(4, "big") + part for part in (b"subject", b"1"))
    assert one.subject == hmac.new(secrets.site("A"), message, hashlib.sha256).hexdigest()[:20]
    assert stat.S_IMODE((tmp_path / "secrets/site-A.secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_a_hundred_thousand_names_have_as_many_keys() -> None:
    """80 bits are enough, and parts of names cannot be shifted into one another."""
    keys = {pseudonym(b"s" * 32, "scan", str(n), "") for n in range(100_000)}
    assert len(keys) == 100_000
    assert pseudonym(b"s" * 32, "a", "bc") != pseudonym(b"s" * 32, "ab", "c")


def test_a_traveller_has_one_code_at_all_sites_and_it_is_not_the_source_s(tmp_path: Path) -> None:
    """The same person can be matched over sites without being named; others have n/a."""
    scans = [scan("1", traveller="T7"), scan("9", site="B", traveller="T7"), scan("2")]
    sites = assign(scans, split_by_person(scans, CONFIG, {}), Secrets(tmp_path / "s"))
    codes = [sample.labels["traveller"] for site in sites.values() for sample in site]
    assert sorted(code == "n/a" for code in codes) == [False, False, True]
    assert len(set(codes)) == 2
    assert "T7" not in codes


def test_a_damaged_secret_is_refused(tmp_path: Path) -> None:
    """New keys in silence would make every person a new one."""
    (tmp_path / "site-A.secret").write_text("not hex")
    with pytest.raises(UserError, match="secret site-A"):
        Secrets(tmp_path).site("A")


@pytest.mark.parametrize("site", ["../A", "A/B", "", ".hidden", "a b", "a\nb", "x" * 65, "a..b", "{1..9}"])
def test_a_site_s_name_must_be_a_file_s_name_everywhere(site: str, tmp_path: Path) -> None:
    """No separators, blanks, braces or dots in front."""
    with pytest.raises(UserError, match="a name has letters"):
        assign([scan("1", site=site)], {(site, "1"): "train"}, Secrets(tmp_path))


def test_the_mapping_is_private_and_can_be_given_back_as_split_file(tmp_path: Path) -> None:
    """Written only when asked, mode 600; read back, it holds everybody where they are under any salt."""
    bids = bids_site(tmp_path / "siteA")
    mapping = tmp_path / "who.tsv"
    shard([bids], tmp_path / "one", PrepareConfig.read(SMALL, "test"), mapping=mapping, secrets=tmp_path / "s")
    assert stat.S_IMODE(mapping.stat().st_mode) == 0o600
    assert "sub-03_ses-2_T1w.nii.gz" in mapping.read_text()
    assert len(read_splits(mapping)) == 8
    salted = PrepareConfig.read({**SMALL, "split_salt": "other"}, "test")
    shard([bids], tmp_path / "two", salted, split_file=mapping, secrets=tmp_path / "s")
    assert read_rows(tmp_path / "one/siteA") == read_rows(tmp_path / "two/siteA")


@pytest.mark.parametrize(("text", "words"), [("participant_id\tsplit\n1\tdev\n", "'dev' is no split"),
                                             ("participant_id\tsplit\n1\ttrain\n1\ttest\n", "another split"),
                                             ("id\tsplit\n1\ttrain\tx\n", "too many or too few cells"),
                                             ("who\tsplit\n1\ttrain\n", "no column for subject")])  # fmt: skip
def test_an_unusable_split_file_is_refused(text: str, words: str, tmp_path: Path) -> None:
    """With the line at fault."""
    path = tmp_path / "splits.tsv"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        read_splits(path)
