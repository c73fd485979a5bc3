"""Each recipe on two made-up people in the data set's own layout and headings: it finds them and reads their labels."""

from pathlib import Path

import pytest
from scans_on_disk import save, scan_file

from distunlearn.prepare.options import read_request
from distunlearn.prepare.sources import find

SHARDS = Path(__file__).parents[2] / "shards"
ABIDE = "SITE_ID,SUB_ID,DX_GROUP,AGE_AT_SCAN,SEX"

LAYOUTS: dict[str, tuple[list[str], str, str]] = {
    "ixi": (
        ["IXI002-Guys-0828-T1.nii.gz", "IXI012-HH-1211-T1.nii.gz"],
        "IXI.csv", 'IXI_ID,"SEX_ID (1=m, 2=f)",HEIGHT,AGE\n2,2,164,35.8\n12,1,175,0\n'),
    "abide1": (
        ["RawDataBIDS/NYU/sub-0050952/anat/sub-0050952_T1w.nii.gz", "RawDataBIDS/UM_1/sub-0050272/anat/sub-0050272_T1w.nii.gz"],
        "Phenotypic_V1_0b.csv", f"{ABIDE}\nNYU,50952,1,35.8,2\nUM_1,50272,2,14.2,1\n"),
    "abide2": (
        ["RawData/ABIDEII-NYU_1/29177/session_1/anat_1/anat.nii.gz", "RawData/ABIDEII-UCD_1/29006/session_1/anat_1/anat.nii.gz"],
        "ABIDEII_Composite_Phenotypic.csv", f"{ABIDE.replace('SCAN', 'SCAN ')}\nABIDEII-NYU_1,29177,1,35.8,2\nABIDEII-UCD_1,29006,2,14.2,1\n"),
    "adni": (
        ["ADNI/002_S_0295/MPRAGE/2006-04-18_08_20_30.0/I13722/ADNI_002_S_0295_MR_MPRAGE_I13722.nii",
         "ADNI/011_S_0003/MPRAGE/2005-09-01_08_20_30.0/I10054/ADNI_011_S_0003_MR_MPRAGE_I10054.nii"],
        "adni.csv", "Image Data ID,Subject,Group,Sex,Age,Visit\nI13722,002_S_0295,CN,F,35.8,sc\nI10054,011_S_0003,AD,M,81,sc\n"),
    "camcan": (
        ["sub-CC110033/anat/sub-CC110033_T1w.nii.gz", "sub-CC110037/anat/sub-CC110037_T1w.nii.gz"],
        "participants.tsv", "participant_id\tage\thand\tgender_code\nsub-CC110033\t35.8\t100\t2\nsub-CC110037\t18\t100\t1\n"),
    "hcp": (
        [f"{n}/T1w/T1w_acpc_dc_restore_brain.nii.gz" for n in (100206, 100307)],
        "hcp.csv", "Subject,Gender,Age_in_Yrs\n100206,F,35.8\n100307,M,26\n"),
    "ukbiobank": (
        [f"{n}_20252_2_0/T1/T1_unbiased_brain.nii.gz" for n in (1000011, 1000023)],
        "ukb.csv", '"eid","31-0.0","21003-0.0","21003-2.0"\n"1000011","0","30","35.8"\n"1000023","1","56","64"\n'),
    "oasis1": (
        [f"sub-OAS1000{n}/ses-M000/anat/sub-OAS1000{n}_ses-M000_T1w.nii.gz" for n in (1, 2)],
        "participants.tsv", "participant_id\tage_bl\tsex\nsub-OAS10001\t35.8\tF\nsub-OAS10002\t55\tM\n"),
    "oasis3": (
        ["sub-OAS30001/ses-d0129/anat/sub-OAS30001_ses-d0129_run-01_T1w.nii.gz", "sub-OAS30002/ses-d0653/anat/sub-OAS30002_ses-d0653_T1w.nii.gz"],
        "participants.tsv", "participant_id\tage\tsex\nsub-OAS30001\t35.8\tF\nsub-OAS30002\t67\tM\n"),
    "whitehall2": (
        ["W001.nii.gz", "W002.nii.gz"],
        "whitehall2.csv", "path,subject,age,sex\nW001.nii.gz,W001,35.8,F\nW002.nii.gz,W002,70,M\n"),
    "srpbs": (
        ["HUH/1.nii.gz", "SWA/1.nii.gz"],
        "srpbs.csv", "path,subject,site,session,age,sex\nHUH/1.nii.gz,1,HUH,1,35.8,F\nSWA/1.nii.gz,1,SWA,1,25,M\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.stem for path in SHARDS.glob("*.yaml")))
def test_a_recipe_finds_people_in_the_layout_that_it_describes(name: str, tmp_path: Path) -> None:
    """Both scans are found with their labels, in sites of proper names; the female of 35.8 years is the first."""
    files, table, text = LAYOUTS[name]
    for n, file in enumerate(files):
        scan_file(tmp_path / file, n)
    save(tmp_path / table, text.encode())
    request = read_request([SHARDS / f"{name}.yaml", tmp_path / "out"], {}, {}, data=tmp_path)
    found = find(request.sources, request.config)
    assert not found.dropped
    first, second = sorted(found.scans, key=lambda scan: str(scan.path))
    assert (first.labels["age"], first.labels["sex"], second.labels["sex"]) == ("35.8", "F", "M")
    assert (first.traveller is not None) == (name == "srpbs")
