# Evaluate calls in the analysis environment and keep everything R says, in order.
#
# `analysis` holds the data `d` and the models; its parent holds the definitions of definitions.R,
# its grandparent is the global environment, which stays empty.

analysis <- new.env()
record <- new.env()

attach_packages <- function(packages) {
  for (package in packages) {
    if (!nzchar(system.file(package = package))) {
      stop("the R package '", package, "' is not installed", call. = FALSE)
    }
  }
  suppressPackageStartupMessages(library("lme4", character.only = TRUE))
  invisible(TRUE)
}

package_dataset <- function(package, dataset) {
  if (!requireNamespace(package, quietly = TRUE)) {
    stop("the R package '", package, "' is not installed", call. = FALSE)
  }
  found <- new.env()
  if (dataset %in% getNamespaceExports(package)) {
    table <- getExportedValue(package, dataset)
  } else {
    utils::data(list = dataset, package = package, envir = found)
    if (!exists(dataset, envir = found, inherits = FALSE)) {
      stop("the R package '", package, "' has no data set '", dataset, "'", call. = FALSE)
    }
    table <- get(dataset, envir = found)
  }
  if (!is.data.frame(table)) {
    stop("'", dataset, "' is not a data frame", call. = FALSE)
  }
  as.data.frame(lapply(table, plain_column), check.names = FALSE, optional = TRUE)
}

plain_column <- function(x) {
  if (is.factor(x)) {
    return(factor(x, levels = levels(x), ordered = is.ordered(x)))
  }
  if (inherits(x, c("Date", "POSIXct"))) {
    return(plain_time(x))
  }
  if (inherits(x, "integer64") && requireNamespace("bit64", quietly = TRUE)) {
    return(bit64::as.character.integer64(x))
  }
  if (without_counterpart(x)) complex(NROW(x)) else as.vector(x)
}

# Whether Python has no column of this kind; it is handed over as one that is refused if used.
without_counterpart <- function(x) {
  is.list(x) || is.complex(x) || is.raw(x) || inherits(x, "integer64") || NCOL(x) != 1L
}

# Days as 2024-01-31, moments in UTC.
plain_time <- function(x) {
  if (inherits(x, "Date")) {
    return(format(x, "%Y-%m-%d"))
  }
  whole <- !is.na(x) & unclass(x) %% 1 == 0
  form <- ifelse(whole, "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%OS6")
  ifelse(is.na(x), NA, paste0(format(x, form, tz = "UTC"), "+00:00"))
}

session_versions <- function() {
  packages <- c("lme4", "Matrix", "lmerTest", "pbkrtest", "emmeans", "clubSandwich", "RLRsim")
  found <- lapply(packages, function(p) as.character(utils::packageVersion(p)))
  names(found) <- packages
  c(
    list(R = paste(R.version$major, R.version$minor, sep = ".")), found,
    list(
      platform = R.version$platform, BLAS = as.character(extSoftVersion()["BLAS"]),
      RNG = paste(RNGkind(), collapse = ", ")
    )
  )
}

# The DESCRIPTION of every package in use, R's own among them.
installed_files <- function() {
  files <- vapply(loadedNamespaces(), function(p) system.file("DESCRIPTION", package = p), "")
  unname(sort(files[nzchar(files)]))
}

# Start a new analysis on a data frame; `weights` is the column of the prior weights, empty where
# there are none, and `offset` tells whether the models have one; see cache.R for the others, and
# shelf.R for `rows` and `most`.
begin_analysis <- function(data, weights = "", offset = FALSE, folder = "", salt = "",
                           columns = NULL, fresh = FALSE, costly = Inf, rows = Inf, most = 0) {
  open_cache(folder, salt, if (nzchar(folder)) setNames(columns, names(data)), fresh, costly)
  open_shelf(rows, most)
  rm(list = ls(analysis, all.names = TRUE), envir = analysis)
  parent.env(analysis) <- environment(begin_analysis)
  assign("d", data, envir = analysis)
  record$entries <- list()
  record$conditions <- list()
  record$reasons <- list()
  record$uncompressed <- list()
  record$step <- ""
  record$weights <- weights
  record$offset <- offset
  invisible(TRUE)
}

note_condition <- function(name, kind, condition) note_text(name, kind, words_of(condition))

words_of <- function(condition) gsub("\\s+", " ", trimws(conditionMessage(condition)))

note_text <- function(name, kind, text) {
  known <- vapply(record$conditions, function(x) identical(x$text, text) && x$name == name, FALSE)
  if (!any(known)) {
    record$conditions[[length(record$conditions) + 1L]] <-
      list(name = name, kind = kind, text = text)
  }
}

# The value of a call, or the error as a condition; warnings and messages are noted under `name`.
# A costly call that was evaluated before, or by a worker, gives what it gave then.
evaluate <- function(name, call) {
  key <- cache$last <- content_key(call)
  found <- recall(key)
  if (is.null(found)) {
    if (large_data() && shelf$grown()) clear_memory()
    found <- made_ahead(call)
    if (is.null(found)) found <- observed(eval(call, analysis))
    if (nzchar(key) && found$seconds >= cache$costly) keep(key, found$value, found$said)
    if (found$seconds > 0.1 && large_data()) clear_memory()
  }
  for (said in found$said) note_text(name, said$kind, said$text)
  found$value
}

# What a condition is to the report. That a function or argument goes out of use is about the software
# and nothing about the data: .Deprecated() and the package lifecycle give it a class, lme4 words alone.
kind_of <- function(condition, kind) {
  classes <- c("deprecatedWarning", "lifecycle_warning_deprecated")
  phrases <- "\\b(is|are|has been|have been) (soft-)?deprecated\\b|\\b(has|have) (been )?moved to the \\S+ package\\b"
  outdated <- inherits(condition, classes) || grepl(phrases, words_of(condition), perl = TRUE)
  if (kind != "error" && outdated) "deprecation" else kind
}

# The value of an expression, or the error as a condition; the warnings and messages, in order, and
# the seconds that it took. Method dispatch wraps an error of an argument in one of its own, without the
# class of what is undefined by its nature: then the value is the inner one.
observed <- function(expr) {
  said <- list()
  undefined <- NULL
  hear <- function(kind, restart) {
    function(condition) {
      said[[length(said) + 1L]] <<- list(kind = kind_of(condition, kind), text = words_of(condition))
      invokeRestart(restart)
    }
  }
  began <- proc.time()[["elapsed"]]
  value <- tryCatch(
    withCallingHandlers(
      expr,
      warning = hear("warning", "muffleWarning"), message = hear("message", "muffleMessage"),
      undefined = function(e) undefined <<- e
    ),
    error = function(e) {
      wrapped <- !is.null(undefined) && grepl(conditionMessage(undefined), conditionMessage(e), fixed = TRUE)
      if (wrapped) undefined else e
    }
  )
  list(value = value, said = unique(said), seconds = proc.time()[["elapsed"]] - began)
}

code_text <- function(call) {
  paste(
    deparse(
      call, width.cutoff = 500L, control = c("keepNA", "keepInteger", "niceNames", "digits17")
    ),
    collapse = "\n"
  )
}

# Whether rows count by prior weights; and whether OLS on the outcome alone is not what the models
# come down to without their groups.
weighted <- function() nzchar(record$weights)
adjusted <- function() weighted() || record$offset

# A call of lmer with the weights of the analysis; `...` are further arguments.
lmer_call <- function(formula, reml, ..., data = quote(d)) {
  call <- bquote(lmer(.(formula), data = .(data), REML = .(reml)))
  if (weighted()) call$weights <- as.name(record$weights)
  call <- as.call(c(as.list(call), list(...)))
  if (is.null(call$control)) call$control <- control_call()
  call
}

# The control of a fit whose convergence lme4 is to check, as code; NULL where it does so by itself. Newer
# versions take no derivatives above 10,000 rows or ten parameters of the random part unless these
# limits, where their lmerControl() has them, are lifted.
control_call <- function(optimizer = NULL, known = names(formals(lme4::lmerControl))) {
  limits <- intersect(c("check.conv.nobsmax", "check.conv.nparmax"), known)
  settings <- c(list(optimizer = optimizer)[!is.null(optimizer)], setNames(rep(list(Inf), length(limits)), limits))
  if (length(settings)) as.call(c(quote(lmerControl), settings))
}

# The calls whose value depends on the weights: level-1 residuals of equal variance, the residual
# variance (its mean over the rows), and how much data each group has.
residual_call <- function(m) {
  if (weighted()) bquote(residuals(.(m), type = "pearson")) else bquote(residuals(.(m)))
}
variance_call <- function(m) {
  if (weighted()) bquote(residual_variance(.(m))) else bquote(sigma(.(m))^2)
}
amount_call <- function(m, g) {
  g <- column_of(g)
  if (weighted()) bquote(group_weights(.(m), .(g))) else bquote(group_sizes(.(g)))
}

# Put the parts that a step knows only at run time (a model's name, a term) into a call.
resolve <- function(expr, bind) {
  do.call(substitute, list(expr, bind))
}

add_entry <- function(entry) {
  entry$step <- record$step
  record$entries[[length(record$entries) + 1L]] <- entry
  invisible(entry$value)
}

# Why R could not compute something, in words for a reader: our own, or that it could not. R's own
# message is kept among the conditions.
reason_of <- function(name, error, kind = "error") {
  if (inherits(error, "undefined")) {
    return(conditionMessage(error))
  }
  note_condition(name, kind, error)
  "R could not compute it for this model and these data; its message is among the conditions"
}

# Name an intermediate result: an assignment in the analysis and in reproduce.R. `failing` is the
# kind of condition that an error is kept as: a refit that may fail gives a warning.
object <- function(name, expr, bind = list(), failing = "error") {
  call <- resolve(substitute(expr), bind)
  value <- evaluate(name, call)
  if (inherits(value, "error")) {
    if (have(name)) rm(list = name, envir = analysis)
    cache$keys <- cache$keys[names(cache$keys) != name]
    add_entry(list(
      kind = "failed", id = name, code = code_text(call), reason = conditionMessage(value)
    ))
    record$reasons[[name]] <- reason_of(name, value, failing)
    return(invisible(NULL))
  }
  hold(name, value, call)
  cache$keys[[name]] <- cache$last
  add_entry(list(kind = "object", id = name, code = code_text(call)))
  invisible(value)
}

# Why an object is not there.
why <- function(name, otherwise) {
  if (is.null(record$reasons[[name]])) otherwise else record$reasons[[name]]
}

have <- function(...) {
  all(vapply(c(...), exists, FALSE, envir = analysis, inherits = FALSE))
}

# Record one number together with the call that gave it. `otherwise` is the reason to give where the
# value is not finite.
statistic <- function(id, expr, label, type = "estimate", unit = "", method = "", model = "",
                      bind = list(), otherwise = "it is not defined for this model and data") {
  call <- resolve(substitute(expr), bind)
  value <- evaluate(id, call)
  entry <- list(
    kind = "quantity", id = id, code = code_text(call), label = label, type = type, unit = unit,
    method = method, model = model
  )
  if (inherits(value, "error")) {
    return(absent(id, reason_of(id, value), label, code = entry$code))
  }
  value <- as.numeric(value)
  if (type == "df" && identical(value, Inf)) {
    otherwise <- "the test uses the normal distribution, which has no degrees of freedom"
  }
  if (length(value) != 1L || !is.finite(value)) {
    return(absent(id, otherwise, label, code = entry$code))
  }
  entry$value <- value
  add_entry(entry)
}

# Say that a number cannot be had, and why.
absent <- function(id, reason, label = "", code = "") {
  add_entry(list(kind = "missing", id = id, code = code, label = label, reason = reason))
  invisible(NULL)
}

# Record a vector for a figure.
series <- function(id, expr, label, unit = "", model = "", bind = list()) {
  call <- resolve(substitute(expr), bind)
  value <- evaluate(id, call)
  if (inherits(value, "error")) {
    return(absent(id, reason_of(id, value), label, code = code_text(call)))
  }
  if (is.numeric(value) && !all(is.finite(value))) {
    return(absent(id, "some of its values are not defined", label, code = code_text(call)))
  }
  value <- if (is.numeric(value)) as.numeric(value) else as.character(value)
  add_entry(list(
    kind = "series", id = id, code = code_text(call), label = label, unit = unit, model = model,
    value = value
  ))
}

# Run a step's function; its entries and what R said go back to Python as columns.
run_step <- function(step, f, args) {
  record$entries <- list()
  record$conditions <- list()
  record$step <- step
  fun <- get(f, envir = environment(run_step), mode = "function")
  facts <- do.call(fun, args)
  text <- c("kind", "id", "code", "label", "type", "unit", "method", "model", "reason")
  entries <- lapply(setNames(text, text), function(field) text_column(record$entries, field))
  entries$value <- lapply(record$entries, function(entry) entry$value)
  said <- c("name", "kind", "text")
  list(
    entries = entries,
    conditions = lapply(setNames(said, said), function(x) text_column(record$conditions, x)),
    facts = if (is.list(facts)) facts else list()
  )
}

text_column <- function(entries, field) {
  vapply(entries, function(entry) {
    if (is.null(entry[[field]])) "" else paste(as.character(entry[[field]]), collapse = " ")
  }, "")
}
