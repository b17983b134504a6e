"""Short lists of English words that tell what a request asks for; their counts are structural features.

They are a head start for small logs, not a language model: the hashed words carry the rest. All words are lowercase
and free of digits. A change here changes features, so it needs a new ``FEATURES_VERSION``.
"""

from __future__ import annotations

LEXICON: dict[str, tuple[str, ...]] = {
    "question_words": ("what", "which", "who", "whom", "whose", "when", "where", "why", "how"),
    "orders": (
        *("write", "explain", "describe", "give", "list", "summarize", "summarise", "translate", "create", "generate"),
        *("make", "show", "tell", "find", "compare", "rewrite", "edit", "improve", "classify", "extract", "answer"),
    ),
    "code_words": (
        *("def", "function", "class", "return", "import", "int", "void", "const", "var", "string", "python", "java"),
        *("javascript", "sql", "select", "html", "bug", "compile", "api", "code", "loop", "array", "null", "async"),
    ),
    "math_words": (
        *("calculate", "compute", "solve", "equation", "integral", "derivative", "matrix", "theorem", "prove", "proof"),
        *("sum", "probability", "triangle", "integer", "polynomial", "vector", "function", "total", "percent", "many"),
    ),
    "science_words": (
        *("energy", "mass", "velocity", "temperature", "pressure", "molecule", "reaction", "acid", "cell", "protein"),
        *("force", "voltage", "current", "electron", "gas", "heat", "water", "species", "gene", "atom"),
    ),
    "law_medicine_words": (
        *("court", "plaintiff", "defendant", "contract", "law", "statute", "jury", "evidence", "patient", "disease"),
        *("symptoms", "treatment", "blood", "diagnosis", "clinical", "drug", "therapy", "history", "liability", "tax"),
    ),
    "negations": ("not", "no", "never", "none", "without", "except", "cannot", "neither", "nor", "incorrect", "false"),
    "constraints": (
        *("must", "should", "only", "exactly", "least", "most", "each", "every", "all", "always", "ensure", "required"),
        *("following", "given", "assume", "suppose", "let", "if", "unless", "than"),
    ),
    "reasoning": ("because", "therefore", "since", "step", "steps", "think", "reason", "analyze", "evaluate", "decide"),
    "greetings": ("hi", "hello", "hey", "thanks", "thank", "please", "sorry", "bye", "yes", "ok", "okay"),
    "function_words": ("the", "a", "an", "of", "to", "in", "is", "and", "for", "that", "it", "on", "with", "as"),
    "persons": ("i", "me", "my", "you", "your", "we", "our", "he", "she", "his", "her", "they", "their"),
}

CLASSES: tuple[str, ...] = tuple(LEXICON)
"""Names of the lists, in the order of their columns."""
