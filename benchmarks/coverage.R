# Draws data from known models, evaluates on each the calls that a report recorded, and counts how
# often its intervals hold the truth and its tests reject a true hypothesis.
# Usage: Rscript --vanilla coverage.R PROGRAMS.R RESULTS.csv SEED MINUTES MOST [CELL ...]
#
# PROGRAMS.R, written by coverage.py, holds the definitions of mlmreport and `programs`: for each
# analysis the recorded calls in their order. No block of replicates begins after MINUTES, and no
# cell gets more than MOST.
suppressPackageStartupMessages(library(lme4))
RNGkind("Mersenne-Twister", "Inversion", "Rejection")

ALPHA <- 0.05
INTERCEPT <- 1
SLOPE_SD <- 0.3 # of the random slopes, whose correlation with the intercepts is RHO
RHO <- 0.3
EFFECTS <- list(none = c(x = 0, w = 0), intercepts = c(x = 0, w = 0), slopes = c(x = 0.5, w = 0.3))

# --- cells ----------------------------------------------------------------------------------------

# `part` is what is looked at; parts of the same design see the same data. The most telling come
# first, so that a run that is stopped has them.
cells <- function() {
  read.table(header = TRUE, text = "
    part       family     sizes  groups icc  replicates
    main       intercepts skewed 10     0.10 1000
    grouping   none       skewed 10     0    4000
    main       intercepts skewed 30     0.10 1000
    main       slopes     skewed 10     0.10 1000
    main       intercepts skewed 10     0.01 1000
    slope      intercepts skewed 10     0.10 1000
    grouping   none       skewed 30     0    4000
    kr         intercepts skewed 10     0.10 1000
    main       intercepts skewed 10     0.50 1000
    main       intercepts skewed 100    0.10 1000
    variances  intercepts skewed 10     0.10 250
    main       slopes     skewed 30     0.10 1000
    main       intercepts skewed 30     0.01 1000
    slope      intercepts skewed 30     0.10 1000
    main       intercepts equal  10     0.10 1000
    variances  intercepts skewed 30     0.10 250
    grouping   none       skewed 100    0    4000
    kr         slopes     skewed 10     0.10 1000
    kr         intercepts skewed 10     0.01 1000
    main       intercepts equal  30     0.10 1000
    main       intercepts skewed 30     0.50 1000
    main       intercepts skewed 100    0.01 1000
    main       intercepts skewed 100    0.50 1000
    grouping   none       equal  10     0    4000
    grouping   none       equal  30     0    4000
    main       intercepts equal  10     0.01 1000
    main       intercepts equal  10     0.50 1000
    main       intercepts equal  30     0.01 1000
    main       intercepts equal  30     0.50 1000
    main       slopes     skewed 100    0.10 1000
    slope      intercepts skewed 100    0.10 1000
    slope      intercepts equal  30     0.10 1000
    variances  intercepts skewed 10     0.01 250
    variances  intercepts skewed 10     0.50 250
    variances  intercepts skewed 100    0.10 250
    kr         intercepts skewed 10     0.50 1000
    main       intercepts equal  100    0.01 1000
    main       intercepts equal  100    0.10 1000
    main       intercepts equal  100    0.50 1000
    main       slopes     equal  10     0.10 1000
    main       slopes     equal  30     0.10 1000
    main       slopes     equal  100    0.10 1000
    grouping   none       equal  100    0    4000
    groups     intercepts skewed 10     0.10 1000
    groups     intercepts skewed 10     0.01 1000
    groups     intercepts skewed 10     0.50 1000
    groups     intercepts skewed 30     0.10 1000
    groups     intercepts skewed 100    0.10 1000
    groups     intercepts equal  10     0.10 1000
    groups     slopes     skewed 10     0.10 1000
    groups     slopes     skewed 30     0.10 1000
  ")
}

# A seed of its own for each replicate of a design.
seed_of <- function(cell, r, seed) {
  designs <- do.call(paste, unique(cells()[c("family", "sizes", "groups", "icc")]))
  k <- match(paste(cell$family, cell$sizes, cell$groups, cell$icc), designs)
  seed + 100000L * k + r
}

# Rows of each group: 10, or log-normal quantiles of mean about 10 and CV about 0.8, at least 2.
sizes_of <- function(kind, groups) {
  if (kind == "equal") {
    return(rep(10, groups))
  }
  pmax(2, round(qlnorm(ppoints(groups), log(10) - 0.7^2 / 2, 0.7)))
}

# --- data -----------------------------------------------------------------------------------------

# A sample as the preparation leaves it, and the truth behind it. Total variance at x = 0 is 1.
draw <- function(cell) {
  n <- sizes_of(cell$sizes, cell$groups)
  ids <- sprintf("%03d", seq_along(n))
  row <- rep(seq_along(n), n)
  tau <- sqrt(cell$icc)
  sigma <- sqrt(1 - cell$icc)
  z <- matrix(rnorm(2 * cell$groups), ncol = 2)
  u0 <- tau * z[, 1]
  u1 <- (cell$family == "slopes") * SLOPE_SD * (RHO * z[, 1] + sqrt(1 - RHO^2) * z[, 2])
  w <- rnorm(cell$groups)
  x <- rnorm(sum(n))
  b <- EFFECTS[[cell$family]]
  d <- data.frame(school = factor(ids[row], ids), x_within = x - ave(x, row), w = w[row])
  d$y <- INTERCEPT + b[["x"]] * d$x_within + b[["w"]] * d$w + u0[row] + u1[row] * d$x_within +
    rnorm(sum(n), 0, sigma)
  list(d = d, w = w, u0 = u0, u1 = u1, tau = tau, sigma = sigma, b = b, ids = ids)
}

# --- evaluation of the recorded calls -------------------------------------------------------------

definitions <- environment()
prepared <- new.env()

# The recorded calls, parsed: a named group stands as UNIT and the seed of a test as SEED.
prepare <- function(program) {
  lapply(program, function(entry) {
    code <- gsub('"01"', "UNIT", entry$code, fixed = TRUE)
    code <- gsub("20261L", "SEED", code, fixed = TRUE)
    list(name = entry$name, object = entry$object, call = str2lang(code), code = code)
  })
}

quietly <- function(expr) suppressMessages(suppressWarnings(expr))

# Evaluate calls in the order of the record. An object that stands there by the same call is kept.
evaluate <- function(env, program) {
  for (entry in program) {
    if (entry$object && identical(env$.made[[entry$name]], entry$code)) next
    value <- tryCatch(quietly(eval(entry$call, env)), error = function(e) NULL)
    if (entry$object) {
      # As in the report, a variance drift that cannot be had is NULL.
      assign(entry$name, value, envir = env)
      env$.made[[entry$name]] <- entry$code
    } else {
      env$.values[[entry$name]] <- as.numeric(value)
    }
  }
}

begin <- function(d, seed) {
  env <- new.env(parent = definitions)
  env$d <- d
  env$SEED <- seed
  env$.made <- list()
  env$.values <- list()
  env
}

# A recorded value; as in the report, one that is not finite is missing.
got <- function(env, ...) {
  value <- env$.values[[paste0(...)]]
  if (is.null(value) || !length(value)) NA_real_ else replace(value, !is.finite(value), NA_real_)
}

holds <- function(env, at, truth) {
  as.numeric(got(env, at, "/lower") <= truth & truth <= got(env, at, "/upper"))
}

rejects <- function(env, at) as.numeric(got(env, at) < ALPHA)

# Probability of a normal variable between two recorded limits.
content <- function(env, at, mean, sd) {
  pnorm(got(env, at, "/upper"), mean, sd) - pnorm(got(env, at, "/lower"), mean, sd)
}

# --- one replicate --------------------------------------------------------------------------------

replicate_once <- function(cell, seed) {
  set.seed(seed)
  truth <- draw(cell)
  env <- begin(truth$d, seed + 50000L) # simulated tests must not draw what the data drew
  model <- if (cell$family == "slopes") "slopes" else "schools"
  switch(cell$part,
    main = c(
      judge_fixed(env, paste0(cell$family, "/main"), model, "Satterthwaite", truth),
      singular = as.numeric(isSingular(env[[paste0("m_", model)]])),
      judge_predictions(env, cell$family, env[[paste0("m_", model)]], truth)
    ),
    groups = judge_groups(env, cell$family, model, truth),
    kr = judge_fixed(env, paste0(cell$family, "/kr"), model, "Kenward-Roger", truth),
    slope = judge_slope(env),
    variances = judge_variances(env, truth),
    grouping = judge_grouping(env)
  )
}

judge_fixed <- function(env, program, model, ddf, truth) {
  evaluate(env, prepared[[program]])
  values <- c("(Intercept)" = INTERCEPT, x_within = truth$b[["x"]], w = truth$b[["w"]])
  found <- vapply(names(values), function(term) {
    holds(env, paste0(model, "/fixef/", term), values[[term]])
  }, 0)
  found <- setNames(found, paste("coverage", ddf, names(values)))
  null <- names(values)[values == 0]
  tests <- vapply(null, function(term) rejects(env, paste0(model, "/fixef/", term, "/p")), 0)
  c(found, setNames(tests, if (length(null)) paste("error", ddf, null)))
}

# Intervals at the means of the predictors: for the average, a new group and a new observation; and
# of the conditional modes of all groups, once more over the fits that are not on the boundary.
judge_predictions <- function(env, family, m, truth) {
  here <- INTERCEPT + truth$b[["w"]] * mean(truth$w)
  modes <- c(intercepts = mean(holds(env, "inference/modes/school/(Intercept)", truth$u0)))
  if (family == "slopes") {
    modes <- c(modes, slopes = mean(holds(env, "inference/modes/school/x_within", truth$u1)))
  }
  c(
    "coverage average" = holds(env, "inference/average", here),
    setNames(modes, paste("coverage modes", names(modes))),
    "coverage new group" = content(env, "inference/new", here, truth$tau),
    "coverage new observation" =
      content(env, "inference/observation", here, sqrt(truth$tau^2 + truth$sigma^2)),
    setNames(if (isSingular(m)) NA * modes else modes, paste("inside modes", names(modes)))
  )
}

# Intervals for groups of the sample at x = 0.
judge_groups <- function(env, family, model, truth) {
  evaluate(env, prepared[[paste0(family, "/new")]])
  m <- env[[paste0("m_", model)]]
  within <- INTERCEPT + truth$b[["w"]] * truth$w + truth$u0
  expected <- group_values_at(m, "school", group_rows(env$typical, "school", env$d, "w"))
  units <- c(smallest = 1L, largest = length(truth$ids), highest = unname(which.max(expected)))
  program <- prepared[[paste0(family, "/group")]]
  of_unit <- vapply(program, function(entry) grepl("UNIT", entry$code, fixed = TRUE), FALSE)
  groups <- vapply(units, function(k) {
    env$UNIT <- truth$ids[k]
    for (entry in program[of_unit]) env$.made[[entry$name]] <- NULL
    evaluate(env, program)
    holds(env, "inference/group/01", within[k])
  }, 0)
  groups <- setNames(groups, paste("coverage group", names(groups)))
  c(groups, setNames(if (isSingular(m)) NA * groups else groups, sub("coverage", "inside", names(groups))))
}

judge_grouping <- function(env) {
  evaluate(env, prepared[["intercepts/grouping"]])
  c(
    "error grouping mixture" = rejects(env, "fit/grouping/p"),
    "error grouping exact" = rejects(env, "icc/exact/p")
  )
}

judge_slope <- function(env) {
  evaluate(env, prepared[["slopes/test"]])
  at <- "models/slope/x_within/"
  c(
    "error slope correlated mixture" = rejects(env, paste0(at, "removed/p")),
    "error slope correlated bootstrap" = rejects(env, paste0(at, "removed/p_exact")),
    "error slope independent mixture" = rejects(env, paste0(at, "independent/p")),
    "error slope independent exact" = rejects(env, paste0(at, "independent/p_exact"))
  )
}

judge_variances <- function(env, truth) {
  evaluate(env, prepared[["intercepts/variances"]])
  at <- "schools/var/"
  c(
    "coverage SD groups" = holds(env, paste0(at, "school/(Intercept)/sd"), truth$tau),
    "coverage SD residual" = holds(env, paste0(at, "residual/residual/sd"), truth$sigma),
    "coverage ICC profile" = holds(env, "icc/school", truth$tau^2),
    "coverage ICC bootstrap" = holds(env, "icc/school/bootstrap", truth$tau^2)
  )
}

# --- all replicates -------------------------------------------------------------------------------

BLOCK <- 100
KEYS <- c("part", "family", "sizes", "groups", "icc")

# Mean and Monte Carlo standard error of each measure over the replicates that have it.
summarised <- function(cell, found, seconds) {
  found <- do.call(rbind, found)
  rows <- lapply(colnames(found), function(measure) {
    had <- found[!is.na(found[, measure]), measure]
    # Nothing had is no mean, but adds nothing when pooled.
    data.frame(
      cell[KEYS], measure, value = if (length(had)) mean(had) else 0,
      se = if (length(had) > 1) sd(had) / sqrt(length(had)) else 0,
      replicates = length(had), missing = nrow(found) - length(had), seconds = seconds
    )
  })
  data.frame(do.call(rbind, rows), row.names = NULL)
}

# Two summaries of the same cell, of different replicates, as one.
pooled <- function(a, b) {
  if (is.null(a)) {
    return(b)
  }
  n <- cbind(a$replicates, b$replicates)
  means <- cbind(a$value, b$value)
  squares <- (n - 1) * n * cbind(a$se, b$se)^2 + n * means^2
  total <- rowSums(n)
  value <- rowSums(n * means) / total
  variance <- (rowSums(squares) - total * value^2) / (total - 1)
  data.frame(
    a[c(KEYS, "measure")], value = ifelse(total > 0, value, 0),
    se = ifelse(total > 1, sqrt(pmax(0, variance) / total), 0), replicates = total,
    missing = a$missing + b$missing, seconds = a$seconds + b$seconds
  )
}

# The next replicates of a cell, those from `first` to `last`.
run_block <- function(cell, first, last, seed) {
  spent <- system.time(
    found <- lapply(first:last, function(r) replicate_once(cell, seed_of(cell, r, seed)))
  )
  message(sprintf(
    "%-9s %-10s %-6s J = %3d  ICC %.2f: replicates %d to %d, %.0f s (%.0f CPU)", cell$part,
    cell$family, cell$sizes, cell$groups, cell$icc, first, last, spent[["elapsed"]],
    spent[["user.self"]] + spent[["sys.self"]]
  ))
  summarised(cell, found, sum(spent[c("user.self", "sys.self")]))
}

# Rounds over the chosen cells, a block each, until all have their replicates or the time is up. A
# run goes on where the results of an earlier one end.
main <- function(programs_file, results_file, seed, minutes, most, chosen) {
  sys.source(programs_file, envir = definitions)
  for (name in names(programs)) assign(name, prepare(programs[[name]]), envir = prepared)
  all_ <- cells()
  all_$replicates <- pmin(all_$replicates, most)
  if (!length(chosen)) chosen <- seq_len(nrow(all_))
  keys <- do.call(paste, all_[KEYS])
  rows <- if (file.exists(results_file)) read.csv(results_file) else NULL
  by_cell <- if (is.null(rows)) list() else split(rows, do.call(paste, rows[KEYS]))
  done <- function(k) {
    rows <- by_cell[[keys[k]]]
    if (is.null(rows)) 0 else rows$replicates[1L] + rows$missing[1L]
  }
  began <- proc.time()[["elapsed"]]
  repeat {
    open <- Filter(function(k) done(k) < all_$replicates[k], chosen)
    if (!length(open)) break
    for (k in open[vapply(open, done, 0) < min(vapply(open, done, 0)) + BLOCK]) {
      if (proc.time()[["elapsed"]] - began > 60 * minutes) {
        return(invisible())
      }
      last <- min(done(k) + BLOCK, all_$replicates[k])
      block <- run_block(all_[k, ], done(k) + 1, last, seed)
      by_cell[[keys[k]]] <- pooled(by_cell[[keys[k]]], block)
      in_order <- by_cell[intersect(keys, names(by_cell))]
      write.csv(do.call(rbind, unname(in_order)), results_file, row.names = FALSE, quote = FALSE)
    }
  }
}

arguments <- commandArgs(trailingOnly = TRUE)
main(
  arguments[1L], arguments[2L], as.integer(arguments[3L]), as.numeric(arguments[4L]),
  as.numeric(arguments[5L]), as.integer(arguments[-(1:5)])
)
