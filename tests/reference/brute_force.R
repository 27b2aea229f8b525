# Statistics of definitions.R beside the same by brute force: dense matrices, direct likelihoods,
# other packages. Prints name, ours, the other, tab-separated; one line an element.

args <- commandArgs(trailingOnly = TRUE)
suppressPackageStartupMessages(library(lme4))
source(args[1])
source(file.path(dirname(args[1]), "definitions_inference.R"))
pair <- function(name, ours, other) {
  for (i in seq_along(ours)) {
    cat(name, "\t", sprintf("%.17g\t%.17g", ours[[i]], other[[i]]), "\n", sep = "")
  }
}

models <- list(
  slopes = lmer(Reaction ~ Days + (Days | Subject), sleepstudy),
  uncorrelated = lmer(Reaction ~ Days + (Days || Subject), sleepstudy),
  no_intercepts = lmer(Reaction ~ Days + (0 + Days | Subject), sleepstudy),
  crossed = lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin),
  nested = lmer(strength ~ 1 + (1 | batch / cask), Pastes),
  factors = lmer(angle ~ recipe * temp + (1 | recipe:replicate), cake)
)

# --- the variance of combinations of (beta, u), against V = Z G Z' + sigma2 I and GLS
for (name in names(models)) {
  m <- models[[name]]
  x <- getME(m, "X")
  z <- as.matrix(getME(m, "Z"))
  lambda <- as.matrix(getME(m, "Lambda"))
  g <- sigma(m)^2 * lambda %*% t(lambda)
  v <- z %*% g %*% t(z) + sigma(m)^2 * diag(nrow(x))
  vi <- solve(v)
  a <- solve(t(x) %*% vi %*% x)
  p <- vi - vi %*% x %*% a %*% t(x) %*% vi
  at <- random_positions(m)
  u <- g - g %*% t(z) %*% p %*% z %*% g
  between <- -a %*% t(x) %*% vi %*% z %*% g
  joint <- rbind(cbind(a, between), cbind(t(between), u))
  set.seed(3)
  for (i in 1:3) {
    w <- rnorm(ncol(joint))
    k <- seq_len(ncol(x))
    pair(paste(name, "beta and modes"), joint_variance(solved_equations(m), cbind(w[k]), cbind(w[-k])), w %*% joint %*% w)
  }
  # Where every mode stands: u by its name in the random-effects matrix.
  modes <- ranef(m, condVar = TRUE)
  group <- names(modes)[1]
  effect <- names(modes[[group]])[1]
  pair(
    paste(name, "positions"), getME(m, "b")[at[[group]][[effect]]], modes[[group]][[effect]]
  )
  # Conditional variances given beta: sigma2 Lambda (Lambda' Z'Z Lambda + I)^-1 Lambda'.
  inner <- solve(t(lambda) %*% t(z) %*% z %*% lambda + diag(ncol(z)))
  conditional <- diag(sigma(m)^2 * lambda %*% inner %*% t(lambda))
  for (e in names(modes[[group]])) {
    pair(
      paste(name, "conditional SD", e), mode_sd(m, group, e),
      sqrt(conditional[at[[group]][[e]]])
    )
  }
  pair(paste(name, "random variance"), random_variance(m), mean(diag(z %*% g %*% t(z))))
}

# --- R2 against performance, which has no answer for uncorrelated terms of one grouping
if (requireNamespace("performance", quietly = TRUE)) {
  for (name in c("slopes", "crossed", "nested", "factors")) {
    r2 <- performance::r2_nakagawa(models[[name]])
    pair(paste(name, "marginal R2"), r2_marginal(models[[name]]), r2$R2_marginal)
    pair(paste(name, "conditional R2"), r2_conditional(models[[name]]), r2$R2_conditional)
  }
}

# --- predictions: the design of new rows, and one group's expected outcome
m <- lmer(
  Reaction ~ poly(Days, 2) * kind + I(Days^2) + (Days | Subject),
  transform(sleepstudy, kind = factor(rep(c("a", "b", "c"), length.out = 180)))
)
frame <- transform(sleepstudy, kind = factor(rep(c("a", "b", "c"), length.out = 180)))
pair(
  "design of new rows", fixed_rows(m, frame[c(3, 50, 100), ]) %*% fixef(m),
  predict(m, frame[c(3, 50, 100), ], re.form = NA)
)
m <- models$slopes
row <- data.frame(Days = 3)
ours <- prediction(m, row, list(Subject = "309"))
pair("expected in a group", ours[["estimate"]], predict(m, cbind(row, Subject = "309")))
one <- coef(m)$Subject["309", ]
pair("expected by coef()", ours[["estimate"]], one[[1]] + 3 * one[[2]])
m <- models$nested
cask <- "b:C"
ours <- prediction(m, data.frame(row.names = 1), units_around(m, "cask:batch", cask))
pair(
  "expected in a nested group", ours[["estimate"]],
  predict(m, data.frame(batch = "C", cask = "b"))
)
pair(
  "variance of the random part", variance_at(models$slopes, data.frame(Days = 4)),
  c(1, 4) %*% VarCorr(models$slopes)$Subject %*% c(1, 4)
)

# --- ICC: the profile likelihood from dense matrices
deviance_of <- function(theta, y, zs) {
  v <- Reduce(`+`, Map(function(t, z) t^2 * tcrossprod(z), theta, zs), diag(length(y)))
  root <- chol(v)
  y_ <- backsolve(root, y, transpose = TRUE)
  x_ <- backsolve(root, rep(1, length(y)), transpose = TRUE)
  n <- length(y)
  2 * sum(log(diag(root))) + n * log(sum((y_ - x_ * sum(x_ * y_) / sum(x_^2))^2) / n)
}
limits <- function(y, groups, k) {
  zs <- lapply(groups, function(g) model.matrix(~ 0 + g))
  profiled <- function(rho) {
    if (length(zs) == 1) {
      return(deviance_of(sqrt(rho / (1 - rho)), y, zs))
    }
    optimize(function(rest) {
      theta <- numeric(2)
      theta[-k] <- rest
      theta[k] <- sqrt(rho / (1 - rho) * (1 + rest^2))
      deviance_of(theta, y, zs)
    }, c(0, 20), tol = 1e-7)$objective
  }
  best <- optimize(profiled, c(0, 0.999), tol = 1e-8)
  over <- function(rho) profiled(rho) - best$objective - qchisq(0.95, 1)
  c(
    uniroot(over, c(0, best$minimum), tol = 1e-8)$root,
    uniroot(over, c(best$minimum, 0.9999), tol = 1e-8)$root
  )
}
m <- lmer(Yield ~ 1 + (1 | Batch), Dyestuff)
pair("icc one grouping", icc_profile(m, "Batch"), limits(Dyestuff$Yield, Dyestuff["Batch"], 1))
m <- models$crossed
pair(
  "icc of two", icc_profile(m, "sample"),
  limits(Penicillin$diameter, Penicillin[c("plate", "sample")], 2)
)

# --- a variance at its boundary, by simulation of the exact null distribution
if (requireNamespace("RLRsim", quietly = TRUE)) {
  m <- lmer(Yield ~ 1 + (1 | Batch), Dyestuff)
  exact <- RLRsim::exactRLRT(m, nsim = 1e5, seed = 1)
  cat("restricted likelihood ratio\t", sprintf("%.17g\t%.17g", 2 * as.numeric(
    logLik(m) - logLik(lm(Yield ~ 1, Dyestuff), REML = TRUE)
  ), exact$statistic), "\n", sep = "")
}

# --- the gradient that lme4's own check looks at
m <- suppressWarnings(lmer(
  Reaction ~ Days + (Days | Subject), sleepstudy,
  control = lmerControl(optCtrl = list(maxeval = 12))
))
said <- grep("max|grad|", m@optinfo$conv$lme4$messages, value = TRUE, fixed = TRUE)
said <- as.numeric(sub(".*= ([0-9.e-]+) \\(tol.*", "\\1", said[1]))
pair("scaled gradient", signif(scaled_gradient(m), 6), said)

# --- the bands draw no random numbers of R
set.seed(1)
before <- .Random.seed
invisible(qq_band(50))
pair("random numbers left alone", as.numeric(identical(before, .Random.seed)), 1)
