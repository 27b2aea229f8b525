# The source files are named as the spec does, which stands in their folder.
source_file <- function(name) file.path(sources, name)

columns_of <- function(table, names) {
  absent <- setdiff(names, names(table))
  if (length(absent)) stop("there is no column ", paste(absent, collapse = ", "), call. = FALSE)
  as.data.frame(table)[names]
}

# What of the preparation R cannot do on this machine ends the script without a verdict.
unavailable <- function(reason) {
  report_series("preparation/unavailable", reason)
  finish(values_file)
  quit(save = "no")
}

# A file of R objects may hold code that runs when it is read; from R 4.4.0 on it does not run.
read_rds <- function(file) {
  if (getRversion() < "4.4.0") unavailable("R before 4.4.0 may run what an .rds file hides")
  readRDS(file)
}

read_package <- function(package, dataset) {
  if (!nzchar(system.file(package = package))) {
    unavailable(paste("the R package", package, "is not installed"))
  }
  found <- new.env()
  data(list = dataset, package = package, envir = found)
  if (exists(dataset, found, inherits = FALSE)) {
    found[[dataset]]
  } else {
    getExportedValue(package, dataset)
  }
}

# Values as text: whole numbers without a decimal point, others with the digits that tell them
# apart, truth values in words, moments in UTC.
as_text <- function(x) {
  if (is.logical(x)) {
    return(c("False", "True")[x + 1L])
  }
  if (inherits(x, c("Date", "POSIXct"))) {
    return(time_as_text(x))
  }
  if (inherits(x, "integer64")) {
    return(integer64_as_text(x))
  }
  if (!is.numeric(x)) {
    return(as.character(x))
  }
  distinct <- unique(x[!is.na(x)])
  vapply(as.numeric(distinct), number_as_text, "")[match(x, distinct)]
}

number_as_text <- function(x) {
  if (x == round(x)) {
    return(sub("^-0$", "0", sprintf("%.0f", x)))
  }
  for (digits in 15:17) {
    text <- sprintf("%.*g", digits, x)
    if (as.numeric(text) == x) break
  }
  text
}

time_as_text <- function(x) {
  if (inherits(x, "Date")) {
    return(format(x, "%Y-%m-%d"))
  }
  whole <- !is.na(x) & unclass(x) %% 1 == 0
  form <- ifelse(whole, "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%OS6")
  ifelse(is.na(x), NA, paste0(format(x, form, tz = "UTC"), "+00:00"))
}

integer64_as_text <- function(x) {
  if (!requireNamespace("bit64", quietly = TRUE)) unavailable("the R package bit64 is not installed")
  bit64::as.character.integer64(x)
}

as_number <- function(x) {
  plain <- is.numeric(x) && !inherits(x, "integer64") || is.logical(x)
  as.numeric(if (plain) x else as_text(x))
}

as_numbers <- function(d, names) {
  d[names] <- lapply(d[names], as_number)
  d
}

joined <- function(d, higher, by) {
  key <- function(table) do.call(paste, c(lapply(table[by], as_text), sep = "\r"))
  higher <- higher[complete.cases(higher[by]), , drop = FALSE]
  at <- match(key(d), key(higher))
  at[!complete.cases(d[by])] <- NA
  new <- setdiff(names(higher), names(d))
  d[new] <- higher[at, new, drop = FALSE]
  d
}

# The first mark that keeps all pairs apart stands between an id and that of the level above.
ids_within <- function(above, own) {
  known <- !is.na(above) & !is.na(own)
  pairs <- unique(data.frame(above, own)[known, ])
  for (mark in c(":", "/", " / ", " within ")) {
    if (!anyDuplicated(paste(pairs$above, pairs$own, sep = mark))) break
  }
  ifelse(known, paste(above, own, sep = mark), NA)
}

recoded <- function(x, from, to) to[match(x, from)]

relabelled <- function(x, from, to) ifelse(x %in% from, recoded(x, from, to), x)

among <- function(x, values) ifelse(is.na(x), NA, x %in% values)

# The means of the groups, over their rows or over the units in them, for every row.
group_means <- function(x, group, unit = seq_along(x)) {
  first <- !duplicated(unit)
  means <- tapply(x[first], group[first], mean, na.rm = TRUE)
  as.vector(means[group])
}

# The script ends at the first difference.
stop_at <- function(id, text) {
  keep_row(id, simpleError(text), series = FALSE)
  finish(values_file)
  stop(text, call. = FALSE)
}

expect_rows <- function(d, n) {
  if (nrow(d) != n) stop_at("preparation/rows", sprintf("%d rows, not %d", nrow(d), n))
}

# Hold a column against that of data.csv: numbers relative to the largest of the column that they
# are made of, everything else as text.
compare_column <- function(name, d, prepared, of) {
  made <- d[[name]]
  stored <- prepared[[name]]
  numeric <- is.numeric(stored)
  scale <- if (numeric) max(abs(c(stored, d[[of]])), 0, na.rm = TRUE) else 1
  off <- if (numeric) abs(made - stored) / max(scale, .Machine$double.xmin) else made != stored
  off <- ifelse(is.na(made) | is.na(stored), is.na(made) != is.na(stored), off)
  if (any(off > 1e-12)) {
    row <- which(off > 1e-12)[1L]
    stop_at(
      paste0("preparation/column/", name),
      sprintf(
        "row %d: %s from the source files, %s in data.csv", row,
        format(made[row], digits = 15L), format(stored[row], digits = 15L)
      )
    )
  }
  report(paste0("preparation/column/", name), max(off, 0))
}
