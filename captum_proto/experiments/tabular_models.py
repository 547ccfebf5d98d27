"""Networks of tables by name, for the command line: real tables, one of known truth, and those of the user."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from captum_proto._utils.checks import nearest, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.models.factory import call_factory, factory_file
from captum_proto.models.surrogate import sklearn_pipeline, surrogate_of
from captum_proto.models.tabular import TABLES, TabularModel, load_table, train_tabular_model
from captum_proto.testing import INCOMES, income_rule, planted_income

#: The table of known truth.
PLANTED = "planted-income"
NAMES = (*TABLES, PLANTED)


def tabular_models(
    name: str, networks: int = 1, first_seed: int = 0, pipeline: str | None = None
) -> list[Callable[[], TabularModel]]:
    """
    What loads each of some networks of a table.

    Args:
        name (str): "wine", "breast-cancer", "planted-income", or FILE.py:FACTORY, a function that returns a
            :class:`~captum_proto.models.TabularModel`.
        networks (int, optional): How many, each trained on another split; one of a factory. Default: 1
        first_seed (int, optional): Of the first. Default: 0
        pipeline (str, optional): "svm" or "forest": surrogates of such pipelines in place of networks. Default: None

    Raises:
        ValueError: If there is no such table, or a factory is asked for several networks.
    """
    if ".py" in name:
        factory_file(name)
        if networks != 1:
            raise InputError(f"networks is {networks}, but a function in a Python file gives one; leave networks out.")
        return [partial(_of_factory, name, pipeline)]
    if name not in NAMES:
        hint = nearest(name, NAMES) or f"; expected one of {', '.join(NAMES)}, or FILE.py:FACTORY."
        raise InputError(f'there is no table "{name}"{hint}')
    return [partial(_trained, name, first_seed + number, pipeline) for number in range(networks)]


def _trained(name: str, seed: int, pipeline: str | None) -> TabularModel:
    if name == PLANTED:
        table, labels = planted_income(seed=seed)
        made = train_tabular_model(name, table, labels, INCOMES, seed, rule=income_rule)
    else:
        made = train_tabular_model(name, *load_table(name), seed=seed)
    return _surrogate(made, pipeline, seed)


def _of_factory(name: str, pipeline: str | None) -> TabularModel:
    made = call_factory(name)
    if not isinstance(made, TabularModel):
        raise InputTypeError(f'"{name}" returned a {type_name(made)}; expected a captum_proto.models.TabularModel.')
    made.model.eval()
    return _surrogate(made, pipeline, 0)


def _surrogate(made: TabularModel, pipeline: str | None, seed: int) -> TabularModel:
    if pipeline is None:
        return made
    asked = sklearn_pipeline(pipeline, made, seed)
    return surrogate_of(asked, made, seed=seed, name=f"a scikit-learn {pipeline} on {made.name}")


__all__ = ["NAMES", "PLANTED", "tabular_models"]
