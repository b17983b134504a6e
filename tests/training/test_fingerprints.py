"""Fingerprints change with what they are of, and with nothing else."""

from dataclasses import replace

from tests.training.table_examples import small_table
from training.fingerprints import data_fingerprint, price_fingerprint


def test_order_of_rows_does_not_count():
    table = small_table(20)
    shuffled = replace(
        table,
        prompts=table.prompts.sample(frac=1, random_state=0),
        outcomes=table.outcomes.sample(frac=1, random_state=0),
        models=table.models.iloc[::-1],
    )
    assert data_fingerprint(shuffled) == data_fingerprint(table)
    assert price_fingerprint([shuffled]) == price_fingerprint([table])


def test_one_label_changes_the_data_and_one_price_the_prices():
    table, other = small_table(20), small_table(20)
    other.outcomes.loc[3, "quality"] = 1 - other.outcomes.loc[3, "quality"]
    assert data_fingerprint(other) != data_fingerprint(table)
    assert price_fingerprint([other]) == price_fingerprint([table])
    other.models.loc[0, "price_in_per_m"] = 7.0
    assert price_fingerprint([other]) != price_fingerprint([table])
