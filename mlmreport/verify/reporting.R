# Values are kept as they are computed, printed by table and step, and written to a file at the end.

reported <- new.env()
reported$rows <- list()
reported$told <- 0L
reported$failed <- 0L

section <- function(title) {
  cat("\n", title, "\n", strrep("=", nchar(title, "width")), "\n", sep = "")
}

# An assignment that fails must not stop the script: what needs the object fails after it.
note_failure <- function() reported$failed <- reported$failed + 1L
if (!interactive()) options(error = quote(note_failure()))

keep_row <- function(id, value, series) {
  if (inherits(value, "error")) {
    note_failure()
    message("Error in ", id, ": ", conditionMessage(value))
  }
  reported$rows[[id]] <- list(id = id, value = value, series = series)
  invisible(value)
}

one_number <- function(value) {
  value <- as.numeric(value)
  if (length(value) != 1L || !is.finite(value)) stop("not one finite number", call. = FALSE)
  value
}

# The value is evaluated inside tryCatch, as R evaluates arguments when they are first used.
report <- function(id, value) {
  keep_row(id, tryCatch(one_number(value), error = identity), series = FALSE)
}

report_series <- function(id, value) {
  plain <- function(x) if (is.numeric(x)) as.numeric(x) else as.character(x)
  keep_row(id, tryCatch(plain(value), error = identity), series = TRUE)
}

# --- printing as the report does: rounding and notation by the kind of number ---

minus <- "\u2212"
no_leading_zero <- c("level", "proportion", "share", "correlation", "p")
never_vanishing <- c("variance", "sd", "se", "estimate", "covariance", "gradient")

number_text <- function(x, decimals, kind) {
  text <- formatC(abs(x), format = "f", digits = decimals, big.mark = ",")
  negative <- x < 0 && grepl("[1-9]", text)
  if (kind %in% no_leading_zero) text <- sub("^0[.]", ".", text)
  paste0(if (negative) minus, text)
}

power_text <- function(x) {
  parts <- strsplit(sprintf("%.1e", x), "e", fixed = TRUE)[[1L]]
  raised <- chartr(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079",
    as.character(as.integer(parts[2L]))
  )
  paste0(sub("-", minus, parts[1L], fixed = TRUE), "\u202f\u00d7\u202f10", raised)
}

# The text of a value; a p-value or a difference of two fits below .001 is shown as such, a small
# variance by a power of ten.
shown <- function(id, kind, decimals) {
  x <- reported$rows[[id]]$value
  if (!is.numeric(x)) {
    return("ERROR")
  }
  if (kind == "level") {
    return(sub("^0", "", sprintf("%.10g", x)))
  }
  if (kind %in% c("p", "difference") && abs(x) < 0.001) {
    return(paste0("<\u202f", number_text(0.001, decimals, kind)))
  }
  text <- number_text(x, decimals, kind)
  vanishes <- x != 0 && !grepl("[1-9]", text)
  if (vanishes && kind %in% never_vanishing) power_text(x) else text
}

padded <- function(texts, right) {
  gap <- strrep(" ", max(nchar(texts, "width")) - nchar(texts, "width"))
  if (right) paste0(gap, texts) else paste0(texts, gap)
}

# A table: its caption, the heads of its columns, and a vector of texts for each row.
show_table <- function(caption, columns, ...) {
  filled <- lapply(list(columns, ...), function(row) c(row, rep("", length(columns) - length(row))))
  cells <- do.call(rbind, filled)
  texts <- lapply(seq_along(columns), function(i) padded(cells[, i], right = i > 1L))
  lines <- trimws(do.call(paste, c(texts, sep = "  ")), "right")
  cat("\n", caption, "\n", paste0("  ", lines, "\n"), sep = "")
  reported$told <- length(reported$rows)
}

value_text <- function(row) {
  if (inherits(row$value, "error")) {
    return(paste("ERROR:", conditionMessage(row$value)))
  }
  if (row$series) sprintf("(%d values)", length(row$value)) else format(row$value, digits = 7L)
}

# What was computed since the last table.
show_values <- function() {
  rows <- reported$rows[seq_along(reported$rows) > reported$told]
  reported$told <- length(reported$rows)
  if (length(rows)) {
    ids <- padded(vapply(rows, function(row) row$id, ""), right = FALSE)
    values <- vapply(rows, value_text, "")
    cat("\n", paste0("  ", ids, "  ", values, "\n"), sep = "")
  }
}

# --- all values at full precision ---

quoted <- function(x) paste0("\"", gsub("\"", "\"\"", enc2utf8(x), fixed = TRUE), "\"")

# An apostrophe keeps a spreadsheet from running a text, and from taking away one of its own.
guarded <- function(x) {
  formula <- grepl("^('|[\t\r\n]|[[:space:]]*[=+@|%\uff1d\uff0b\uff0d\uff20-])", x)
  ifelse(formula, paste0("'", x), x)
}

# One line an element: id, position (0 for a single number), type, value.
value_lines <- function(row) {
  x <- row$value
  if (inherits(x, "error")) {
    return(paste(quoted(row$id), 0L, "error", quoted(guarded(conditionMessage(x))), sep = ","))
  }
  type <- if (is.numeric(x)) "number" else "text"
  text <- if (is.numeric(x)) sprintf("%.17g", x) else quoted(guarded(x))
  at <- if (row$series) seq_along(x) else 0L
  if (!length(x)) character() else paste(quoted(row$id), at, type, text, sep = ",")
}

write_values <- function(rows, file) {
  to <- file(file, "wb")
  on.exit(close(to))
  writeLines(c("id,element,type,value", unlist(lapply(rows, value_lines))), to, useBytes = TRUE)
}

# The script's argument, if any, is the file that the values are written to.
finish <- function(file) {
  show_values()
  if (length(file)) write_values(reported$rows, file[1L])
  if (reported$failed > 0L) {
    message(reported$failed, " expression(s) could not be evaluated")
    if (!interactive()) quit(save = "no", status = 1L)
  }
}
