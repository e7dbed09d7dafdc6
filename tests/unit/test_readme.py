"""README claims what was measured, and nothing else."""

from pathlib import Path

HOUSE = Path(__file__).parents[2]


def test_the_table_of_the_benchmark_is_the_one_it_wrote():
    said = (
        (HOUSE / "README.md").read_text().partition("<!-- building.md -->\n")[2].partition("<!-- /building.md -->")[0]
    )
    assert said.strip() == (HOUSE / "tests/bench/building.md").read_text().strip()
