"""The contract suite asserts outside of test files: pytest is to explain those as well."""

from __future__ import annotations

import pytest

for _module in ("contract", "paper_bench", "suite"):
    pytest.register_assert_rewrite(f"tests.exchanges.{_module}")
