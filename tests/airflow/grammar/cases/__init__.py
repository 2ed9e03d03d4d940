"""All cases, by name."""

from tests.airflow.grammar.cases import (
    authors,
    beside,
    commands,
    fields,
    functions,
    habits,
    mapping,
    order,
    rules,
    values,
)
from tests.airflow.grammar.registry import CASES

__all__ = [
    "CASES",
    "FEW",
    "authors",
    "beside",
    "commands",
    "fields",
    "functions",
    "habits",
    "mapping",
    "order",
    "rules",
    "values",
]

# Each way by which values go from task to task, and each way to end; the others prove variations of these.
FEW = ("map_reduce", "a_large_value_mapped_over", "values_that_json_has_not", "each_command_reads_its_own",
       "a_commands_output_in_a_function", "an_output_pulled_in_a_template", "a_secret_from_the_dag",
       "skipped_by_the_function", "failed_for_good_by_the_function", "the_plan_before", "waiting_for_jobs",
       "a_dear_plan_that_is_approved")  # fmt: skip
