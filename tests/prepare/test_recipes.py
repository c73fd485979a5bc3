"""Each recipe on two made-up people in the data set's own layout and headings: shards with their labels come out."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from scans_on_disk import read_rows, save, scan_file, voxels

from distunlearn.prepare import PrepareConfig, shard
from distunlearn.prepare.options import read_request
from distunlearn.prepare.preview import preview
from distunlearn.prepare.recipe import TOTAL, read_recipe, remarks

SHARDS = Path(__file__).parents[2] / "shards"
RECIPES = sorted(SHARDS.glob("*.yaml"))
ABIDE = "SITE_ID,SUB_ID,DX_GROUP,AGE_AT_SCAN,SEX"
OASIS1 = "disc{disc}/OAS1_{who}_MR1/PROCESSED/MPRAGE/T88_111/OAS1_{who}_MR1_mpr_n4_anon_111_t88_gfc.img"

LAYOUTS: dict[str, tuple[list[str], str, str, list[str]]] = {
    "ixi": (
        ["IXI002-Guys-0828-T1.nii.gz", "IXI012-HH-1211-T1.nii.gz"],
        "IXI.csv", 'IXI_ID,"SEX_ID (1=m, 2=f)",HEIGHT,AGE\n2,2,164,35.8\n12,1,175,0\n', ["guys", "hammersmith"]),
    "abide1": (
        ["RawDataBIDS/CMU_a/sub-0050952/anat/sub-0050952_T1w.nii.gz", "RawDataBIDS/UM_1/sub-0050272/anat/sub-0050272_T1w.nii.gz"],
        "Phenotypic_V1_0b.csv", f"{ABIDE}\nCMU,50952,1,35.8,2\nUM_1,50272,2,14.2,1\n", ["CMU", "UM_1"]),
    "abide2": (
        ["RawData/ABIDEII-NYU_1/29177/session_1/anat_1/anat.nii.gz", "RawData/ABIDEII-UCD_1/29006/session_1/anat_1/anat.nii.gz"],
        "ABIDEII_Composite_Phenotypic.csv",
        f"{ABIDE.replace('SCAN', 'SCAN ')}\nABIDEII-NYU_1,29177,1,35.8,2\nABIDEII-UCD_1,29006,2,14.2,1\n", ["NYU_1", "UCD_1"]),
    "adni": (
        ["ADNI/002_S_0295/MPRAGE/2006-04-18_08_20_30.0/I13722/ADNI_002_S_0295_MR_MPRAGE_I13722.nii",
         "ADNI/011_S_0003/MPRAGE/2005-09-01_08_20_30.0/I10054/ADNI_011_S_0003_MR_MPRAGE_I10054.nii"],
        "adni.csv", "Image Data ID,Subject,Group,Sex,Age,Visit\nI13722,002_S_0295,CN,F,35.8,sc\nI10054,011_S_0003,AD,M,81,sc\n",
        ["002", "011"]),
    "camcan": (
        ["sub-CC110033/anat/sub-CC110033_T1w.nii.gz", "sub-CC110037/anat/sub-CC110037_T1w.nii.gz"], "participants.tsv",
        "participant_id\tage\thand\tgender_code\nsub-CC110033\t35.8\t100\t2\nsub-CC110037\t18\t100\t1\n", ["camcan"]),
    "hcp": (
        [f"{n}/T1w/T1w_acpc_dc_restore_brain.nii.gz" for n in (100206, 100307)],
        "hcp.csv", "Subject,Gender,Age_in_Yrs\n100206,F,35.8\n100307,M,26\n", ["hcp"]),
    "ukbiobank": (
        [f"{n}_20252_2_0/T1/T1_unbiased_brain.nii.gz" for n in (1000011, 1000023)],
        "ukb.csv", '"eid","31-0.0","21003-0.0","21003-2.0"\n"1000011","0","30","35.8"\n"1000023","1","56","64"\n', ["ukbiobank"]),
    "oasis1": (
        [OASIS1.format(disc=1, who="0001"), OASIS1.format(disc=12, who="0457")], "oasis_cross-sectional.csv",
        "ID,M/F,Hand,Age,Educ,CDR\nOAS1_0001_MR1,F,R,35.8,2,0\nOAS1_0457_MR1,M,R,74,2,0.5\n", ["oasis1"]),
    "oasis3": (
        ["OAS30001_MR_d0129/anat3/sub-OAS30001_ses-d0129_run-02_T1w.nii.gz", "OAS30002_MR_d0653/anat1/sub-OAS30002_ses-d0653_T1w.nii.gz",
         "OAS30001_MR_d0129/anat4/sub-OAS30001_ses-d0129_run-03_T1w.nii.gz"],
        "oasis3.csv", 'Label,Subject,M/F,Age,Scanner,Scans\nOAS30001_MR_d0129,OAS30001,F,35.8,3.0T,"T1w(2), T2w(2)"\n'
        'OAS30002_MR_d0653,OAS30002,M,67,1.5T,T1w(1)\n', ["oasis3"]),
    "whitehall2": (
        ["W001.nii.gz", "W002.nii.gz"],
        "whitehall2.csv", "path,subject,age,sex\nW001.nii.gz,W001,35.8,F\nW002.nii.gz,W002,70,M\n", ["whitehall2"]),
    "srpbs": (
        [f"sourcedata/sub-{who}/ses-site{site}/anat/sub-{who}_ses-site{site}_T1w.nii.gz" for who, site in (("01", "ATT"), ("02", "HUH"))],
        "sourcedata/participants.tsv", "participant_id\tage\tsex\nsub-01\t35.8\tF\nsub-02\t25\tM\n", ["ATT", "HUH"]),
    "fcon1000": (
        [], "fcon1000.csv",
        "sub_id,age,sex,lh_MeanThickness_thickness,eTIV,site\nOulu_sub1,35.8,0,2.3,1.5e6,Oulu\nICBM_sub2,50,1,2.4,1.4e6,ICBM\n",
        ["ICBM", "Oulu"]),
}  # fmt: skip


def lay_out(name: str, folder: Path) -> None:
    """Two people (and a run more than is wanted) as the data set is handed out."""
    files, table, text, _ = LAYOUTS[name]
    for n, file in enumerate(files):
        scan_file(folder / file, n)
    save(folder / table, text.encode())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_makes_shards_of_the_layout_that_it_describes(path: Path, tmp_path: Path) -> None:
    """Both scans are written with their labels, in sites of proper names; the female is 35.8 years old."""
    lay_out(path.stem, tmp_path)
    how = {} if path.stem == "fcon1000" else {"size": (16, 16, 16)}
    request = read_request([path, tmp_path / "out"], {"workers": 1}, how, data=tmp_path)
    shard(request.sources, request.out, request.config)
    sites = LAYOUTS[path.stem][3]
    assert sorted(folder.name for folder in request.out.iterdir()) == sites
    rows = [row for site in sites for row in read_rows(request.out / site)]
    ages = {row["sex"]: row["age"] for row in rows}
    assert len(rows) == 2
    assert ages["F"] == "35.8"
    assert set(ages) == {"F", "M"}
    assert {row["split"] == "travelling" for row in rows} == {path.stem == "srpbs"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_complete_and_honest(path: Path) -> None:
    """Known settings, where to get it, terms, how to cite, counts to expect; `verified` only with the number of files tried."""
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.url.startswith("https://")
    assert all((recipe.terms, recipe.cite, recipe.get, recipe.tried))
    assert any(expected.scans or expected.subjects for expected in recipe.expect.values())
    PrepareConfig.read(recipe.settings, path.name)
    if recipe.verified:
        assert any(character.isdigit() for character in recipe.tried)


def test_there_is_a_recipe_for_every_data_set_that_is_promised() -> None:
    """The paper's three and those that people use; the list in shards/README.md names each."""
    promised = [
        "ukbiobank",
        "oasis1",
        "oasis3",
        "whitehall2",
        "ixi",
        "abide1",
        "abide2",
        "adni",
        "camcan",
        "hcp",
        "srpbs",
    ]
    assert {path.stem for path in RECIPES} == set(LAYOUTS) >= set(promised)
    listed = (SHARDS / "README.md").read_text()
    assert all(f"| `{path.stem}`" in listed for path in RECIPES)


def test_counts_that_differ_from_the_recipe_s_and_its_terms_are_told_before_anything_is_written(tmp_path: Path) -> None:
    """A download that is not complete is noticed by --dry-run; people are counted as well as scans."""
    lay_out("ixi", tmp_path)
    recipe = read_recipe(SHARDS / "ixi.yaml")
    request = read_request([SHARDS / "ixi.yaml", tmp_path / "out"], {}, {}, data=tmp_path)
    looked = preview(request.sources, request.config)
    told = remarks(recipe, looked.found, looked.subjects)
    assert "CC BY-SA 3.0" in told[0]
    assert "ixi, guys: 1 scans found, 322 are expected" in told
    assert "ixi, iop: 0 scans found, 74 are expected" in told
    expect = {"guys": {"scans": 1, "subjects": 2}, TOTAL: {"subjects": 2, "of": "v2"}}
    other = recipe.model_validate({**yaml.safe_load((SHARDS / "ixi.yaml").read_text()), "expect": expect})
    assert remarks(other, looked.found, looked.subjects)[1:] == ["ixi, guys: 1 people found, 2 are expected"]


def test_oasis_1_is_turned_by_the_axes_that_its_recipe_states(tmp_path: Path) -> None:
    """ANALYZE states none; a scan of the discs and the same as NIfTI give the same voxels."""
    lay_out("oasis1", tmp_path)
    request = read_request(
        [SHARDS / "oasis1.yaml", tmp_path / "out"], {"workers": 1}, {"size": (16, 16, 16)}, data=tmp_path
    )
    shard(request.sources, request.out, request.config)
    for n, who in enumerate(("0001", "0457")):
        image = nib.Nifti1Image(voxels(n), np.diag([-2.0, 2, 2, 1]))
        save(tmp_path / f"bids/sub-{who}/anat/sub-{who}_T1w.nii", image.to_bytes())
    shard(
        [tmp_path / "bids"], tmp_path / "bids_out", PrepareConfig(workers=1, preprocessing=request.config.preprocessing)
    )
    digests = [
        {row["xxh3"] for row in read_rows(site)} for site in (tmp_path / "out/oasis1", tmp_path / "bids_out/bids")
    ]
    assert digests[0] == digests[1]
    assert json.loads((tmp_path / "out/oasis1/manifest.json").read_text())["preprocessing"]["orientation"] == "RAS"
