"""Commands, and what their fields may be."""

from airflow.sdk import task

from tests.airflow.grammar.registry import case


@case(params={"word": "hello"})
def templates_in_a_command(kit):
    made = kit.command(
        "made", "echo {{ params.word }} $A > $SKY_OUTPUT_O", envs={"A": "{{ params.word }}"}, outputs={"o": {}}
    )
    kit.result(kit.output(made, "o"))


@case()
def a_plain_tasks_values_in_a_command(kit):
    @task(multiple_outputs=True)
    def said():
        return {"run": "echo $A > $SKY_OUTPUT_O", "envs": {"A": "1"}}

    both = said()
    kit.result(kit.output(kit.command("made", both["run"], envs=both["envs"], outputs={"o": {}}), "o"))


@case()
def one_output_handed_on_whole(kit):
    made = kit.command("made", "echo 4 > $SKY_OUTPUT_O", outputs={"o": {}})
    use = kit.command("use", "cat $SKY_INPUT_X > $SKY_OUTPUT_O", inputs={"x": made.output}, outputs={"o": {}})
    kit.result(use.output)


@case()
def a_commands_output_in_a_function(kit):
    made = kit.command("made", "echo 4 > $SKY_OUTPUT_O", outputs={"o": {}})
    read = kit.function(lambda path, more: int(open(path).read()) + more[0], task_id="read")  # noqa: SIM115
    kit.result(read(kit.output(made, "o"), more=[3]))


@case()
def a_secret_from_the_dag(kit):
    made = kit.command("made", "printf %s $TOKEN | wc -c > $SKY_OUTPUT_O", secrets={"TOKEN": "{{ 'open' ~ 'sesame' }}"},
                       outputs={"o": {}})  # fmt: skip
    kit.result(kit.output(made, "o"))


@case()
def quotes_and_lines_in_a_command(kit):
    made = kit.command("made", """
        cat > $SKY_OUTPUT_O <<'END'
a "b" 'c' $D {% raw %}{{ e }}{% endraw %}
END
        """, outputs={"o": {}})  # fmt: skip
    kit.result(kit.output(made, "o"))


@case()
def commands_by_kwargs(kit):
    made = kit.command("made", outputs={"o": {}}).expand_kwargs(
        [{"run": "echo $A > $SKY_OUTPUT_O", "envs": {"A": "1"}}, {"run": "echo 2 > $SKY_OUTPUT_O"}]
    )
    read = kit.function(lambda paths: [open(path).read() for path in paths], task_id="read")  # noqa: SIM115
    kit.result(read(kit.output(made, "o")))


@case()
def odd_task_ids(kit):
    a = kit.function(lambda: 1, task_id="01_extract.all")()
    kit.result(kit.function(lambda x: x + 1, task_id="x" * 200)(a))
