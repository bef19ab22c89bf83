"""Two states of seven populated blocks and Connecticut's two, in the Census Bureau's layouts, written by hand."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

STATES = ("CT", "DE", "NE")
BLOCKS = (90010701001000, 90011101001000, 100030001001000, 100030001001001, 310010001001000, 310010002001000, 310030001001000)

_CONNECTICUT = """\
"STATEFP
(INCITS38)"|"OLD_COUNTYFP
(INCITS31)"|OLD_COUNTY_NAMELSAD|"NEW_COUNTYFP
(INCITS31)"|NEW_COUNTY_NAMELSAD|COUSUBFP|OLD_COUSUB_GEOID|NEW_COUSUB_GEOID|COUSUB_NAMELSAD|"COUSUBNS
(INCITS446)"|COUSUB_LSAD|COUSUB_FUNCSTAT|COUSUB_CLASSFP
09|001|Fairfield County|120|Greater Bridgeport Planning Region|00000|0900100000|0912000000|not defined|00000000|00|F|Z9
09|001|Fairfield County|190|Western Connecticut Planning Region|00000|0900100000|0919000000|not defined|00000000|00|F|Z9
09|001|Fairfield County|120|Greater Bridgeport Planning Region|08070|0900108070|0912008070|Bridgeport town|00213396|43|C|T5
09|001|Fairfield County|140|Naugatuck Valley Planning Region|68170|0900168170|0914068170|Shelton town|00213504|43|C|T5
09|001|Fairfield County|190|Western Connecticut Planning Region|73070|0900173070|0919073070|Stamford town|00213511|43|C|T5
09|003|Hartford County|110|Capitol Planning Region|37000|0900337000|0911037000|Hartford town|00213443|43|C|T5
09|007|Middlesex County|130|Lower Connecticut River Valley Planning Region|14300|0900714300|0913014300|Chester|00213409|43|C|T5
09|015|Windham County|150|Northeastern Connecticut Planning Region|09190|0901509190|0915009190|Brooklyn town|00213398|43|C|T5
09|005|Litchfield County|160|Northwest Hills Planning Region|76570|0900576570|0916076570|Torrington town|00213516|43|C|T5
09|009|New Haven County|170|South Central Connecticut Planning Region|52070|0900952070|0917052070|New Haven|00213471|43|C|T5
09|011|New London County|180|Southeastern Connecticut Planning Region|52350|0901152350|0918052350|New London|00213472|43|C|T5


GLOSSARY
STATEFP = State FIPS Code / ANSI INCITS 38 Code
"""

_ZCTA_HEADER = (
    "OID_ZCTA5_20|GEOID_ZCTA5_20|NAMELSAD_ZCTA5_20|AREALAND_ZCTA5_20|AREAWATER_ZCTA5_20|MTFCC_ZCTA5_20|CLASSFP_ZCTA5_20|"
    "FUNCSTAT_ZCTA5_20|OID_TABBLOCK_20|GEOID_TABBLOCK_20|NAMELSAD_TABBLOCK_20|AREALAND_TABBLOCK_20|AREAWATER_TABBLOCK_20|"
    "MTFCC_TABBLOCK_20|FUNCSTAT_TABBLOCK_20|AREALAND_PART|AREAWATER_PART\n"
)


_ZCTAS = ("06604", "06484", "19801", "", "68901", "68901", "68720")


def _zcta(area: str, block: int) -> str:
    of_area = f"279900|{area}|ZCTA5 {area}|1|0|G6350|B5|S" if area else "|||||||"
    return f"{of_area}|207900|{block:015d}|Block|1|0|G5040|S|1|0\n"


def _assignments(stem: str, layers: dict[str, str]) -> dict[str, str]:
    headers = {"INCPLACE_CDP": "BLOCKID|PLACEFP", "VTD": "BLOCKID|COUNTYFP|DISTRICT"}
    return {
        f"{stem}_{layer}.txt": f"{headers.get(layer, 'BLOCKID|DISTRICT')}\n" + "".join(f"{row}\n" for row in rows.split())
        for layer, rows in layers.items()
    }


_ASSIGNMENTS = {
    "BlockAssign_ST09_CT": {
        "INCPLACE_CDP": "090010701001000|08000 090011101001000|68100",
        "SLDU": "090010701001000|022 090011101001000|021",
        "SLDL": "090010701001000|126 090011101001000|113",
        "VTD": "090010701001000|001|000001 090011101001000|001|000001",
    },
    "BlockAssign_ST10_DE": {
        "INCPLACE_CDP": "100030001001000|77580 100030001001001| 100030001001002|",
        "SLDU": "100030001001000|001 100030001001001|ZZZ",
        "SLDL": "100030001001000|01A 100030001001001|002",
        "VTD": "100030001001000|003|000001 100030001001001|003|ZZZZZZ",
    },
    # No lower chamber and no voting districts.
    "BlockAssign_ST31_NE": {
        "INCPLACE_CDP": "310010001001000|77580 310010002001000| 310030001001000|",
        "SLDU": "310010001001000|001 310010002001000|002 310030001001000|002",
    },
}


def write_census(folder: Path) -> None:
    """Write every file that ``read_geographies`` reads."""
    for stem, layers in _ASSIGNMENTS.items():
        write_members(folder / f"{stem}.zip", _assignments(stem, layers))
    texts = {
        "2020_Census_Tract_to_2020_PUMA.txt": "\ufeffSTATEFP,COUNTYFP,TRACTCE,PUMA5CE\n09,001,070100,20100\n"
        "09,001,110100,20200\n10,003,000100,00101\n31,001,000100,00400\n31,001,000200,00500\n31,003,000100,00500\n31,003,000200,00600\n",
        "tab20_zcta520_tabblock20_natl.txt": "\ufeff"
        + _ZCTA_HEADER
        + "".join(_zcta(area, block) for area, block in zip(_ZCTAS, BLOCKS, strict=True))
        + _zcta("99501", 20200001001000),
        "national_county2020.txt": "STATE|STATEFP|COUNTYFP|COUNTYNS|COUNTYNAME|CLASSFP|FUNCSTAT\n"
        "CT|09|001|00212794|Fairfield County|H4|N\nDE|10|003|00217271|New Castle County|H1|A\n"
        "NE|31|001|00835822|Adams County|H1|A\nNE|31|003|00835823|Antelope County|H1|A\n"
        "NM|35|013|00929108|Doña Ana County|H1|A\n",
        "cbsa2fipsxw_2023.csv": "cbsacode,metropolitandivisioncode,csacode,cbsatitle,metropolitanmicropolitanstatis,"
        "metropolitandivisiontitle,csatitle,countycountyequivalent,statename,fipsstatecode,fipscountycode,centraloutlyingcounty\n"
        '14860,,408,"Bridgeport-Stamford-Danbury, CT",Metro,,,Greater Bridgeport,Connecticut,09,120,Central\n'
        '47930,,405,"Waterbury-Shelton, CT",Metro,,,Naugatuck Valley,Connecticut,09,140,Central\n'
        '37980,48864,428,"Philadelphia, PA-NJ-DE-MD",Metro,,,New Castle County,Delaware,10,003,Central\n'
        '25580,,,"Hastings, NE",Micro,,,Adams County,Nebraska,31,001,Central\n,,,,,,,,,,,\n',
        "ct_cou_to_cousub_crosswalk.txt": "\ufeff" + _CONNECTICUT,
    }
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    towns = [("040", "09", ""), ("750", "090010701001000", "08070"), ("750", "090011101001000", "68170")]
    header = [["PLST", "CT", level, *[""] * 6, code, *[""] * 7, town, ""] for level, code, town in towns]
    write_members(folder / "ct2020.pl.zip", {"ctgeo2020.pl": "".join("|".join(row) + "\n" for row in header)})


def write_members(path: Path, members: dict[str, str]) -> None:
    """Write a zip of texts."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)


def change(path: Path, member: str, alter: Callable[[str], str]) -> None:
    """Alter a text file, or a member of a zip; the empty text takes the member away."""
    if path.suffix != ".zip":
        path.write_bytes(alter(path.read_bytes().decode()).encode())
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    members[member] = alter(members[member])
    write_members(path, {name: text for name, text in members.items() if text})
