"""The SQL functions that a statement may call: those that only compute. What a newer SQLite or a loaded extension brings is not among them."""

from __future__ import annotations

FUNCTIONS = frozenset(
    """
    abs acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log log10 log2 mod pi pow power radians random
    round sign sin sinh sqrt tan tanh trunc

    char coalesce concat concat_ws format glob hex if ifnull iif instr length like likelihood likely lower ltrim max min nullif octet_length
    printf quote randomblob replace rtrim soundex substr substring trim typeof unhex unicode unistr unistr_quote unlikely upper zeroblob

    current_date current_time current_timestamp date datetime julianday strftime time timediff unixepoch

    avg count cume_dist dense_rank first_value group_concat lag last_value lead median nth_value ntile percent_rank percentile
    percentile_cont percentile_disc rank row_number string_agg sum total

    -> ->> json json_array json_array_insert json_array_length json_error_position json_extract json_group_array json_group_object json_insert
    json_object json_patch json_pretty json_quote json_remove json_replace json_set json_type json_valid
    jsonb jsonb_array jsonb_array_insert jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert jsonb_object jsonb_patch jsonb_remove
    jsonb_replace jsonb_set

    bm25 highlight match offsets snippet

    changes last_insert_rowid sqlite_version total_changes
    """.split()  # noqa: SIM905  # a list of names is read as one
)
"""Not among them: load_extension, fts3_tokenizer (a pointer to code), optimize and rtreecheck (they write, or read other tables)."""

TABLE_FUNCTIONS = frozenset({"json_each", "json_tree"})
"""Those that stand where a table does, and read none."""
