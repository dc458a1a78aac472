"""The filter expression language: Falco's conditions over callout's field names, and Falco's as aliases.

    parse("destination.port = 443 and not proc.name in (curl, wget)", fields).mask(batch)

`parse` turns text into an `Expression`, checked against the fields' types; `Expression.mask` evaluates it
over a batch; `pushdown` says what of it the kernel can check. Importing this package does not import NumPy.
"""

from callout.expression.parse import Environment, parse
from callout.expression.problem import ExpressionError
from callout.expression.pushdown import Narrowing, pushdown
from callout.expression.tree import Expression

__all__ = ["Environment", "Expression", "ExpressionError", "Narrowing", "parse", "pushdown"]
