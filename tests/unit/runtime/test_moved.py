"""Documented imports of version 0.1 lead to the same objects, and say where these lie now."""

import subprocess
import sys

import pytest

from swim.runtime.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_is_the_same_module_and_warns(old):
    code = (
        "import warnings, sys; from importlib import import_module\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        f"    found = import_module({old!r})\n"
        f"assert found is import_module({MOVED[old]!r})\n"
        f"assert found.__spec__.name == {MOVED[old]!r}\n"
        "print(*[w.message for w in seen if w.category is FutureWarning])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert f"import {MOVED[old]} instead" in done.stdout


@pytest.mark.long
def test_old_imports_of_names_work():
    code = (
        "from swim.policies import Chip, of_name; from swim.methods.base import Inputs\n"
        "from swim.programming.lookup import of_name as new; assert of_name is new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_dir_lists_what_a_package_holds_and_what_it_offers():
    code = (
        "import swim, swim.devices\n"
        "assert {'__version__', 'evaluate', 'Device'} <= set(dir(swim))\n"
        "assert {'__name__', 'Device', 'of_settings'} <= set(dir(swim.devices))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
