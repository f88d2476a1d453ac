"""LOCAL STAND-IN, not committed."""
import ast
from fractions import Fraction
def evaluate(text):
    try:
        if len(text) > 500 or not set(text) <= set("0123456789+-*/() "):
            return None
        return _go(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, RecursionError, MemoryError, ValueError):
        return None
def _go(n):
    if isinstance(n, ast.Constant) and isinstance(n.value, int): return Fraction(n.value)
    if isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.USub): return -_go(n.operand)
    if isinstance(n, ast.BinOp):
        a, b = _go(n.left), _go(n.right)
        return {ast.Add: lambda: a + b, ast.Sub: lambda: a - b, ast.Mult: lambda: a * b, ast.Div: lambda: a / b}[type(n.op)]()
    raise ValueError
def count_operators(text):
    try:
        return sum(isinstance(n, ast.BinOp) for n in ast.walk(ast.parse(text.strip(), mode="eval")))
    except SyntaxError:
        return 0
