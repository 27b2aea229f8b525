# Collects what the script computes, for the table at its end and, at full precision, for a file.

reported <- new.env()
reported$section <- ""
reported$rows <- list()
reported$failed <- 0L

section <- function(title) reported$section <- title

# An assignment that fails must not stop the script: what needs the object fails after it.
note_failure <- function() reported$failed <- reported$failed + 1L
if (!interactive()) options(error = quote(note_failure()))

keep_row <- function(id, value, series) {
  if (inherits(value, "error")) {
    note_failure()
    message("Error in ", id, ": ", conditionMessage(value))
  }
  row <- list(section = reported$section, id = id, value = value, series = series)
  reported$rows[[length(reported$rows) + 1L]] <- row
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

shown <- function(row) {
  if (inherits(row$value, "error")) {
    return(paste("ERROR:", conditionMessage(row$value)))
  }
  if (row$series) sprintf("(%d values)", length(row$value)) else format(row$value, digits = 7L)
}

print_values <- function(rows) {
  sections <- vapply(rows, function(row) row$section, "")
  ids <- format(vapply(rows, function(row) row$id, ""))
  values <- vapply(rows, shown, "")
  for (title in sort(unique(sections))) {
    cat("\n", title, "\n", sep = "")
    cat(paste0("  ", ids, "  ", values)[sections == title], sep = "\n")
  }
}

quoted <- function(x) paste0("\"", gsub("\"", "\"\"", enc2utf8(x), fixed = TRUE), "\"")

# One line an element: id, position (0 for a single number), type, value.
value_lines <- function(row) {
  x <- row$value
  if (inherits(x, "error")) {
    return(paste(quoted(row$id), 0L, "error", quoted(conditionMessage(x)), sep = ","))
  }
  type <- if (is.numeric(x)) "number" else "text"
  text <- if (is.numeric(x)) sprintf("%.17g", x) else quoted(x)
  at <- if (row$series) seq_along(x) else 0L
  if (!length(x)) character() else paste(quoted(row$id), at, type, text, sep = ",")
}

write_values <- function(rows, file) {
  to <- file(file, "wb")
  on.exit(close(to))
  writeLines(c("id,element,type,value", unlist(lapply(rows, value_lines))), to, useBytes = TRUE)
}

finish <- function(file) {
  print_values(reported$rows)
  if (length(file)) write_values(reported$rows, file[1L])
  if (reported$failed > 0L) {
    message(reported$failed, " expression(s) could not be evaluated")
    if (!interactive()) quit(save = "no", status = 1L)
  }
}
