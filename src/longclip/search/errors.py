"""What can go wrong with a database of images."""


class SearchError(ValueError):
    """A database, model or query that cannot be used; says which, why, and what to do."""


class FilterError(SearchError):
    """A filter that is no SQL condition on the columns that there are."""
