# Fits and refits on compressed data beside lme4 doing the same work, in one process and by turns.
# Usage: Rscript --vanilla refits.R <folder of our R code> <data.csv> <runs> <small?>
# Prints a line a run: work, who did it, seconds of the CPU; and a line that starts with "check" for
# how far the results of both lie apart.

suppressPackageStartupMessages(library(lme4))

given <- commandArgs(trailingOnly = TRUE)
runs <- as.integer(given[3])
small <- given[4] == "TRUE"

for (file in c("definitions_blocks.R", "compression.R", "resampling.R", "profiling.R")) {
  source(file.path(given[1], file))
}

say <- function(...) cat(..., sep = "\t", fill = FALSE, "\n")

# The CPU seconds of an expression, its value kept under `name`.
kept <- new.env()
timed <- function(work, who, act) {
  gc()
  seconds <- sum(system.time(kept[[paste(work, who)]] <- act())[1:2])
  say(work, who, seconds)
}

# `acts` are functions by name.
beside <- function(work, acts) {
  for (k in seq_len(runs)) for (who in names(acts)) timed(work, who, acts[[who]])
}
got <- function(work, who) kept[[paste(work, who)]]
check <- function(what, value) say("check", what, format(value, digits = 2))

# --- a model of the school achievement data -------------------------------------------------------

d <- read.csv(given[2], stringsAsFactors = TRUE)
d$school <- factor(d$school)
m <- lmer(
  mathach ~ ses_within + minority + sex + sector + meanses + ses_within:sector +
    ses_within:meanses + (1 + ses_within | school),
  data = d
)
replicates <- if (small) 20L else 1000L

beside("bootstrap", list(
  mlmreport = function() parametric_bootstrap(compress(m), replicates = replicates, seed = 1)$values,
  lme4 = function() {
    numbers <- function(f) c(as.data.frame(VarCorr(f))$sdcor, fixef(f))
    suppressMessages(suppressWarnings(bootMer(m, numbers, nsim = replicates, seed = 1)$t))
  }
))
# SDs, correlation and sigma stand in another order with lme4, so the fixed effects are compared.
fixed <- names(fixef(m))
spread_of <- function(draws) apply(draws, 2L, sd)
check("SE of fixed effects by bootstrap, largest difference of their logs", max(abs(log(
  spread_of(got("bootstrap", "mlmreport")[, fixed]) / spread_of(got("bootstrap", "lme4"))[fixed]
))))

beside("profile", list(
  mlmreport = function() profile_limits(compress(m)),
  lme4 = function() suppressWarnings(suppressMessages(confint(m, oldNames = FALSE, quiet = TRUE)))
))
limits <- got("profile", "mlmreport")
theirs <- got("profile", "lme4")[limits$parameter, ]
check("profile limits, largest difference in SE", max(abs(
  as.matrix(limits[limits$parameter %in% fixed, c("lower", "upper")]) - theirs[fixed, ]
) / sqrt(diag(as.matrix(vcov(m))))))

schools <- if (small) levels(d$school)[1:5] else levels(d$school)
beside("leave out", list(
  mlmreport = function() {
    problem <- compress(m)
    fit <- optimum(problem)
    group_influence(problem, leave_out_groups(problem, fit, which = match(schools, levels(d$school))))
  },
  lme4 = function() {
    if (!small) {
      return(cooks.distance(suppressMessages(suppressWarnings(influence(m, groups = "school")))))
    }
    difference <- vapply(schools, function(s) fixef(m) - fixef(update(m, data = d[d$school != s, ])), fixef(m))
    colSums(difference * solve(as.matrix(vcov(m)), difference)) / length(fixef(m))
  }
))
check("Cook's distances, largest difference", max(abs(
  got("leave out", "mlmreport")$cook - got("leave out", "lme4")
)))

# --- a million rows -------------------------------------------------------------------------------

n <- if (small) 20000L else 1000000L
set.seed(1)
g <- rep_len(seq_len(n / 1000L), n)
d <- data.frame(x = rnorm(n), w = rnorm(1000)[g], g = factor(g))
d$y <- 1 + 0.5 * d$x + 0.3 * d$w + rnorm(1000)[g] + rnorm(1000, sd = 0.3)[g] * d$x + rnorm(n, sd = 2)
design <- lFormula(y ~ x + w + (1 + x | g), d)
estimate <- function() {
  optimum(compressed_rows(design$X, design$reTrms, d$y, rep(1, n), 0, TRUE))
}
beside("million rows", list(
  mlmreport = function() lmer_compressed(y ~ x + w + (1 + x | g), data = d),
  estimate = estimate,
  lme4 = function() lmer(y ~ x + w + (1 + x | g), data = d)
))
fit <- got("million rows", "mlmreport")
stopifnot(is.null(fit$reason))
check("REML criterion of the large model, difference", REMLcrit(fit$model) - REMLcrit(got("million rows", "lme4")))
