# ICC and R2 of definitions_components.R beside those of the R package performance, for as many kinds of
# random parts. Prints name, ours, theirs, tab-separated; NA where there is none.

args <- commandArgs(trailingOnly = TRUE)
suppressPackageStartupMessages(library(lme4))
library(performance)
for (file in c("definitions.R", "definitions_components.R")) source(file.path(dirname(args[1]), file))

number <- function(expr) {
  found <- tryCatch(suppressWarnings(unlist(expr)), undefined = function(e) NA_real_)
  if (length(found)) as.numeric(found[[1L]]) else NA_real_
}
pair <- function(name, ours, theirs) {
  cat(name, sprintf("%.17g", number(ours)), sprintf("%.17g", number(theirs)), sep = "\t")
  cat("\n")
}

set.seed(1)
rows <- data.frame(g = gl(12, 20), h = gl(10, 1, 240), x = rnorm(240), z = rnorm(240))
rows$y <- with(rows, 2 + x + rnorm(12)[g] + rnorm(12, sd = 0.5)[g] * x + rnorm(10)[h] + rnorm(240))
models <- list(
  slopes = lmer(Reaction ~ Days + (Days | Subject), sleepstudy),
  uncorrelated = lmer(Reaction ~ Days + (Days || Subject), sleepstudy),
  no_intercepts = lmer(Reaction ~ Days + (0 + Days | Subject), sleepstudy),
  slope_without_effect = lmer(Reaction ~ 1 + (Days | Subject), sleepstudy),
  without_fixed_intercept = lmer(Reaction ~ 0 + Days + (Days | Subject), sleepstudy),
  crossed = lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin),
  nested = lmer(strength ~ 1 + (1 | batch / cask), Pastes),
  crossed_slopes = lmer(y ~ x + z + (x | g) + (1 | h), rows),
  by_ml = lmer(y ~ x * z + (x | g), rows, REML = FALSE),
  zero_variance = suppressMessages(lmer(Yield ~ 1 + (1 | Batch), Dyestuff2))
)
for (name in names(models)) {
  m <- models[[name]]
  pair(paste(name, "icc"), icc_by_performance(m), icc(m, tolerance = 1e-5)["ICC_adjusted"])
  theirs <- suppressWarnings(r2_nakagawa(m, tolerance = 1e-5))
  pair(paste(name, "marginal"), r2_by_performance(m), theirs$R2_marginal)
  pair(paste(name, "conditional"), r2_by_performance(m, conditional = TRUE), theirs$R2_conditional)
}
