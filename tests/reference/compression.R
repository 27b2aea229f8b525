# The kernel on compressed rows against lme4 on all rows. Prints a line a check:
# name, largest difference, bound. Argument: a file of the folder of the R code.
suppressPackageStartupMessages(library(lme4))
folder <- dirname(commandArgs(TRUE)[1L])
for (file in c("definitions.R", "definitions_blocks.R", "compression.R", "resampling.R", "profiling.R", "ratios.R", "robust.R")) {
  source(file.path(folder, file))
}

say <- function(name, difference, bound) {
  cat(name, format(max(abs(difference)), digits = 17), bound, sep = "\t")
  cat("\n")
}
quiet <- function(expr) suppressMessages(suppressWarnings(expr))
tight <- lmerControl(
  optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5), calc.derivs = FALSE
)
crit <- function(m) if (isREML(m)) REMLcrit(m) else deviance(m)

data(MathAchieve, MathAchSchool, package = "nlme")
hsb <- merge(as.data.frame(MathAchieve), as.data.frame(MathAchSchool)[c("School", "Sector")], by = "School")
hsb <- data.frame(
  y = hsb$MathAch, ses = hsb$SES, school = factor(as.character(hsb$School)),
  catholic = as.numeric(hsb$Sector == "Catholic")
)
hsb$meanses <- ave(hsb$ses, hsb$school)
hsb$cses <- hsb$ses - hsb$meanses
hsb$weight <- 1 + seq_len(nrow(hsb)) %% 3
hsb$shift <- hsb$ses / 2
part_of_hsb <- droplevels(hsb[hsb$school %in% levels(hsb$school)[1:40], ])
# Three levels, each with a few rows: classes of schools.
set.seed(11)
three <- data.frame(school = gl(12, 60), class = gl(72, 10), x = rnorm(720))
three$y <- 50 + 2 * three$x + rnorm(12)[three$school] + rnorm(72)[three$class] * (1 + three$x / 2) + rnorm(720)

# Criterion, estimates and derivatives are those of lme4 on all rows.
fits <- list(
  hsb = function(r) lmer(y ~ cses * meanses + cses * catholic + (cses | school), hsb, r, tight),
  uncorrelated = function(r) lmer(y ~ cses + (cses || school), part_of_hsb, r, tight),
  weights = function(r) lmer(y ~ cses + (1 | school), part_of_hsb, r, tight, weights = weight, offset = shift),
  sleepstudy = function(r) lmer(Reaction ~ Days + (Days | Subject), sleepstudy, r, tight),
  three_levels = function(r) lmer(y ~ x + (1 | school) + (x | class), three, r, tight),
  three_weights = function(r) lmer(y ~ x + (1 | school / class), three, r, tight, weights = 1 + abs(x)),
  crossed = function(r) lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin, r, tight)
)
kept <- list()
for (name in names(fits)) {
  for (reml in c(TRUE, FALSE)) {
    m <- quiet(fits[[name]](reml))
    id <- paste(name, if (reml) "REML" else "ML")
    problem <- compress(m)
    batch <- batch_of(problem)
    theta <- getME(m, "theta")
    state <- evaluate_batch(batch, matrix(theta, 1L), gradient = TRUE)
    say(paste(id, "criterion"), state$criterion - crit(m), 1e-8)
    say(paste(id, "beta"), state$beta - fixef(m), 1e-8)
    say(paste(id, "sigma"), state$sigma - sigma(m), 1e-8)
    slope <- central_gradient(function(t) evaluate_batch(batch, t)$criterion, matrix(theta, 1L))
    say(paste(id, "gradient"), state$gradient - slope, 1e-5)
    fit <- optimum(problem, ifelse(problem$lower == 0, 1, 0))
    say(paste(id, "no worse than lme4"), max(0, fit$criterion - crit(m)), 1e-8)
    say(paste(id, "theta"), fit$theta - theta, 5e-6)
    say(paste(id, "vcov"), (fit$vcov - as.matrix(vcov(m))) / tcrossprod(sqrt(diag(fit$vcov))), 1e-5)
    say(paste(id, "converged"), !fit$converged, 0)
    theirs <- update(m, devFunOnly = TRUE)
    mine <- deviance_function(m)
    at <- theta * 1.1 + 0.01
    say(paste(id, "deviance function"), mine(at) - theirs(at), 1e-8)
    modes <- function(f) environment(f)$pp$b(1)
    say(paste(id, "deviance function's modes"), modes(mine) - modes(theirs), 1e-8)
    if (!isSingular(m)) {
      ours <- coef(summary(with_df(m), ddf = "Satterthwaite"))
      lmertest <- coef(summary(lmerTest::as_lmerModLmerTest(m), ddf = "Satterthwaite"))
      say(paste(id, "degrees of freedom"), ours[, "df"] / lmertest[, "df"] - 1, 1e-4)
    }
    kept[[id]] <- list(m = m, problem = problem, fit = fit)
  }
}
rows <- kept[["hsb REML"]]$problem$rows
say("hsb rows", rows[["kept"]] - 320, 0)
say("crossed says why", is.null(kept[["crossed ML"]]$problem$reason), 0)

# The exact test is RLRsim's, of intercepts and of a slope that is correlated with no other effect.
same_seed <- function() set.seed(1, "Mersenne-Twister", "Inversion", "Rejection")
m <- lmer(Reaction ~ Days + (1 | Subject), sleepstudy)
mine <- exact_grouping_test(m, 1000, 1)
same_seed()
theirs <- RLRsim::exactRLRT(m, nsim = 1000)
say("exact statistic", mine$statistic - theirs$statistic, 1e-5)
say("exact p", mine$p.value - max(theirs$p.value, 1 / 1001), 0)
half <- quantile(theirs$sample, 0.8)
say("exact p of a smaller ratio", simulated_ratio_p(m, half, 1000, 1) - mean(theirs$sample > half), 0.002)
slope <- lmer(Reaction ~ Days + (0 + Days | Subject), sleepstudy)
larger <- lmer(Reaction ~ Days + (Days || Subject), sleepstudy)
same_seed()
theirs <- RLRsim::exactRLRT(slope, larger, m, nsim = 1000)
half <- quantile(theirs$sample, 0.8)
say("exact slope", simulated_ratio_p(slope, half, 1000, 1) - mean(theirs$sample > half), 0.002)

# Closed form and lme4's evaluation of the compressed rows agree.
problem <- kept[["hsb REML"]]$problem
at <- matrix(c(0.3, 0.02, 0.1), 1L)
other <- evaluate_batch(lme4_batch(problem, conditioned(problem)), at, gradient = TRUE)
closed <- evaluate_batch(batch_of(problem), at, gradient = TRUE)
say("both evaluations", closed$criterion - other$criterion, 1e-8)
say("both gradients", closed$gradient - other$gradient, 1e-4)

# Three correlated random effects, a raw year, a singular fit: never worse than lme4.
set.seed(2)
wide <- data.frame(g = gl(20, 12), year = 2000 + rep(1:12, 20), w = rnorm(240))
wide$y <- 1e3 + 0.2 * wide$year + rnorm(20)[wide$g] * wide$w + rnorm(240)
for (formula in c(y ~ I(year - 2006) + w + (I(year - 2006) + w | g), y ~ year + (1 | g), y ~ w + (year || g))) {
  m <- quiet(lmer(formula, wide, control = tight))
  fit <- optimum(compress(m))
  say(paste("no worse:", deparse(formula)), max(0, fit$criterion - crit(m)), 1e-6)
}

# Of many rows the design is lFormula's but for the names of rows, and large cells compress as well.
set.seed(4)
many <- data.frame(g = factor(sample(100, 6e4, TRUE)), h = factor(sample(20, 6e4, TRUE)), x = rnorm(6e4))
many$k <- factor(sample(letters[1:3], 6e4, TRUE))
many$w <- rnorm(100)[many$g]
many$far <- 1e5 * many$x
many$both <- many$x + many$w
many$weight <- 1 + many$x^2
many$y <- rnorm(6e4) + rnorm(100)[many$g] * (1 + many$x) + rnorm(20)[many$h]
nameless <- function(design) {
  design$X <- unname(design$X)
  attr(design$X, "dimnames") <- NULL
  design$reTrms$Ztlist <- NULL
  design$reTrms$Zt@Dimnames <- list(NULL, NULL)
  design
}
calls <- list(
  quote(lmer(formula = y ~ x * w + (1 + x | g), data = many)),
  quote(lmer(formula = y ~ x * k + I(x^2) + (x || g) + (1 | h), data = many, REML = FALSE, weights = weight)),
  quote(lmer(formula = exp(y / 9) ~ 1 + (0 + x | g) + (k | h), data = many, offset = w)),
  quote(lmer(formula = y ~ both + far + x + w + (1 | g), data = many))
)
for (call in calls) {
  ours <- quiet(design_of(call, globalenv()))
  call[[1L]] <- quote(lFormula)
  theirs <- c(quiet(eval(call)), list(control = lmerControl()))
  same <- identical(nameless(ours)[c("X", "reTrms")], nameless(theirs)[c("X", "reTrms")])
  say(paste("design", deparse1(call$formula)), !same, 0)
  same <- isTRUE(all.equal(attributes(ours$fr), attributes(theirs$fr)))
  say(paste("design frame", deparse1(call$formula)), !same, 0)
}
m <- lmer(y ~ x * w + (1 + x | g), many, weights = weight, control = tight)
problem <- compress(m)
say("large cells", evaluate_batch(batch_of(problem), matrix(getME(m, "theta"), 1L))$criterion - crit(m), 1e-6)
say("large cells, rows", problem$rows[["kept"]] - 200, 0)
alone <- rbind(many, transform(many[1L, ], g = factor("alone")))
m <- lmer(y ~ x + w + (1 + x | g), alone, control = tight)
problem <- compress(m)
say("large cells and a row alone", evaluate_batch(batch_of(problem), matrix(getME(m, "theta"), 1L))$criterion - crit(m), 1e-6)
say("large cells and a row alone, rows", problem$rows[["kept"]] - 201, 0)

# --- a genuine fit --------------------------------------------------------------------------------

m <- kept[["sleepstudy REML"]]$m
warm <- lmer_compressed(Reaction ~ Days + (Days | Subject), sleepstudy)$model
ordinary <- lmer(Reaction ~ Days + (Days | Subject), sleepstudy)
say("warm theta", getME(warm, "theta") - getME(m, "theta"), 1e-6)
say("warm no worse", max(0, crit(warm) - crit(ordinary)), 0)
say("warm ranef", ranef(warm)$Subject - ranef(m)$Subject, 1e-4)
say("warm derivatives", warm@optinfo$derivs$Hessian / ordinary@optinfo$derivs$Hessian - 1, 1e-2)
say("warm checks", length(warm@optinfo$conv$lme4), 0)
say("warm update", crit(update(warm, . ~ 1 + (1 | Subject))) - crit(update(ordinary, . ~ 1 + (1 | Subject))), 1e-8)
y <- simulate(ordinary, 1, seed = 1)[[1L]]
say("warm refit", fixef(refit(warm, y)) - fixef(refit(ordinary, y)), 1e-3)
say("warm ML", deviance(refitML(warm)) - deviance(refitML(ordinary)), 1e-6)
say("warm call", !identical(deparse(formula(warm)), deparse(formula(ordinary))), 0)
say("warm profile", confint(profile(warm, 4)) - confint(profile(ordinary, 4)), 1e-3)
weighted <- lmer_compressed(y ~ cses + (1 | school), part_of_hsb, REML = FALSE, weights = weight, offset = shift)
say("warm weights", deviance(weighted$model) - crit(kept[["weights ML"]]$m), 1e-7)
at <- lmer_at(Reaction ~ Days + (Days | Subject), data = sleepstudy, REML = TRUE, theta = getME(warm, "theta"))
say("warm, theta given", c(fixef(at) - fixef(warm), crit(at) - crit(warm), at@optinfo$derivs$Hessian - warm@optinfo$derivs$Hessian), 1e-10)
say("warm, theta given, update", crit(update(at, . ~ . - Days)) - crit(update(ordinary, . ~ . - Days)), 1e-8)
say("warm, theta given, ML", deviance(refitML(at)) - deviance(refitML(ordinary)), 1e-6)
y <- simulate(ordinary, 1, seed = 2)[[1L]]
say("warm, theta given, refit", fixef(refit(at, y)) - fixef(refit(ordinary, y)), 1e-3)
spelt <- lmer(Reaction ~ Days + (Days | Subject), data = sleepstudy, REML = TRUE)
say("warm, theta given, call", !identical(deparse(at@call), deparse(spelt@call)), 0)
crossed <- lmer_compressed(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin)
say("uncompressed says why", !grepl("too few", crossed$reason), 0)

# --- bootstrap ------------------------------------------------------------------------------------

# Given the same responses, a refit is lme4's.
for (id in c("sleepstudy REML", "three_levels ML")) {
  k <- kept[[id]]
  y <- simulate(k$m, 1, seed = 5)[[1L]]
  frame <- if (id == "sleepstudy REML") sleepstudy else three
  frame$new <- y
  direct <- quiet(update(k$m, new ~ ., data = frame))
  compressed <- compress(direct)
  part <- conditioned(k$problem)
  batch <- batch_of(k$problem, part)
  same <- with_responses(
    k$problem, part, batch, k$fit$beta, matrix(compressed$y - k$problem$x %*% k$fit$beta), sum(compressed$rss)
  )
  again <- refitted(k$problem, same, k$fit$theta, warm_inverse(batch, k$fit$theta))
  say(paste("refit theta", id), again$theta - getME(direct, "theta"), 1e-5)
  say(paste("refit beta", id), again$beta - fixef(direct), 1e-5)
}

# Replicates do not depend on the block or the process, nor touch R's generator.
k <- kept[["sleepstudy REML"]]
set.seed(1)
before <- .Random.seed
draws <- parametric_bootstrap(k$problem, k$fit, 1000, seed = 3)
say("generator untouched", !identical(before, .Random.seed), 0)
some <- parametric_bootstrap(k$problem, k$fit, 1000, seed = 3, which = c(988, 7))
say("blocks", some$values - draws$values[c(988, 7), ], 1e-5)
say("all converged", sum(!draws$converged), 0)

# The simulated statistics have the moments of the model: sigma^2 and the fixed effects' covariance.
say("mean of sigma^2 (z)", (mean(draws$sigma^2) / k$fit$sigma^2 - 1) / (sd(draws$sigma^2) / k$fit$sigma^2 / sqrt(1000)), 4)
say("covariance of beta", cov(draws$beta) / k$fit$vcov - 1, 0.5)
say("SDs of beta", sqrt(diag(cov(draws$beta)) / diag(k$fit$vcov)) - 1, 4 / sqrt(2 * 1000))

# Limits agree with bootMer's of 100 within Monte Carlo error: a 10 % quantile of 100 has a standard
# error of about 0.17 SD (and of 1,000 0.05), and 4 of both are allowed for the largest of 12.
names <- colnames(draws$values)
boots <- quiet(bootMer(k$m, function(m) {
  named_parameters(k$problem, matrix(getME(m, "theta"), 1L), sigma(m), matrix(fixef(m), 1L))[1L, ]
}, 100, seed = 9))
limits <- function(v) apply(v, 2L, quantile, c(0.1, 0.9))
spread <- apply(draws$values, 2L, sd)
say("bootMer", sweep(limits(draws$values) - limits(boots$t), 2L, spread, `/`), 4 * 0.18)

# Drawing every group once gives the fit; a group drawn twice is two groups of lme4's.
set.seed(8)
draw <- sample(18, replace = TRUE)
part <- conditioned(k$problem)
twice <- with_groups(k$problem, part, batch_of(k$problem, part), list(1:18, draw), 1L)
found <- refitted(k$problem, twice, k$fit$theta, NULL)
rows <- lapply(seq_along(draw), function(j) {
  cbind(sleepstudy[sleepstudy$Subject == levels(sleepstudy$Subject)[draw[j]], ], copy = j)
})
direct <- quiet(lmer(Reaction ~ Days + (Days | copy), do.call(rbind, rows), control = tight))
say("every group once", found$theta[1L, ] - k$fit$theta, 1e-5)
say("groups drawn twice", found$criterion[2L] - crit(direct), 1e-7)
say("groups drawn twice, beta", found$beta[2L, ] - fixef(direct), 1e-4)
nested <- kept[["three_levels ML"]]
part <- conditioned(nested$problem)
draw <- c(1, 1, 2:11)
copies <- with_groups(nested$problem, part, batch_of(nested$problem, part), list(draw), top_term(nested$problem))
rows <- lapply(seq_along(draw), function(j) {
  cbind(three[three$school == levels(three$school)[draw[j]], ], copy = j)
})
rows <- do.call(rbind, rows)
direct <- quiet(lmer(y ~ x + (1 | copy) + (x | class:copy), rows, FALSE, tight))
at <- getME(direct, "theta")
say("nested groups drawn twice", evaluate_batch(copies, matrix(at, 1L))$criterion - crit(direct), 1e-7)
stopped <- tryCatch(top_term(kept[["crossed ML"]]$problem), error = function(e) "stopped")
say("crossed groups cannot be drawn", stopped != "stopped", 0)

# --- leaving out groups ---------------------------------------------------------------------------

for (id in c("hsb REML", "weights ML", "three_levels ML")) {
  k <- kept[[id]]
  by <- if (id == "three_levels ML") "school" else k$problem$group[1L]
  frame <- switch(id, `three_levels ML` = three, `weights ML` = part_of_hsb, hsb)
  left <- leave_out_groups(k$problem, k$fit, by, which = c(2L, 9L))
  for (j in 1:2) {
    stays <- droplevels(frame[frame$school != left$group[j], ])
    direct <- quiet(update(k$m, data = stays))
    say(paste("left out", id, j, "beta"), left$beta[j, ] - fixef(direct), 1e-5)
    say(paste("left out", id, j, "theta"), left$theta[j, ] - getME(direct, "theta"), 2e-5)
    say(paste("left out", id, j, "criterion"), left$criterion[j] - crit(direct), 1e-6)
  }
}
k <- kept[["sleepstudy REML"]]
left <- leave_out_groups(k$problem, k$fit)
found <- group_influence(k$problem, left)
theirs <- quiet(influence(ordinary, "Subject"))
say("lme4's dfbeta", sweep(left$beta, 2L, k$fit$beta) - dfbeta(theirs), 1e-2)
shift <- k$fit$beta - left$beta[4L, ]
say("Cook's distance", found$cook[4L] - sum(shift * solve(as.matrix(vcov(k$m)), shift)) / 2, 1e-5)
lone <- data.frame(y = three$y, x = as.numeric(three$school == "3"), school = three$school)
problem <- compress(lmer(y ~ x + (1 | school), lone))
say("not estimable without 3", which(!leave_out_groups(problem)$estimable) - 3, 0)

# --- profile limits -------------------------------------------------------------------------------

for (id in c("sleepstudy REML", "crossed REML")) {
  k <- kept[[id]]
  ours <- profile_limits(k$problem)
  some <- if (id == "sleepstudy REML") c(2, 6) else 1:4 # lme4 takes seconds for each
  theirs <- confint(quiet(profile(k$m, some, signames = FALSE)))
  rownames(theirs) <- sub("^.sigma$", "sigma", rownames(theirs))
  ours <- ours[match(rownames(theirs), ours$parameter), ]
  se <- (ours$upper - ours$lower) / (2 * qnorm(0.975))
  say(paste("profile", id), (as.matrix(ours[c("lower", "upper")]) - theirs) / se, 1e-3)
}

# With weights and an offset; of a singular fit, whose SD is zero; of shares of variance, whose other
# definition profiles all rows.
m <- kept[["weights ML"]]$m
ours <- profile_limits(compress(m), "theta_", 0.9)[c("sd_(Intercept)|school", "sigma"), ]
theirs <- confint_profile(m, c("sd_(Intercept)|school", "sigma"), 0.9)
say("profile with weights", (as.matrix(ours[1:2]) - theirs) / (ours$upper - ours$lower), 1e-3)
m <- quiet(lmer(Yield ~ 1 + (1 | Batch), Dyestuff2))
ours <- profile_limits(compress(m))
theirs <- quiet(confint_profile(m))
say("profile singular", (as.matrix(ours[1:2]) - theirs[rownames(ours), ]) / (ours$upper - ours$lower), 1e-3)
say("profile singular, limit 0", c(ours$lower[1L], !ours$lower_bounded[1L]), 0)
alike <- data.frame(g = gl(6, 5), x = rep(1:5, 6), y = rep(c(1, 2, 1, 3, 2), 6)) # no group differs
m <- quiet(lmer(y ~ x + (x | g), alike))
ours <- profile_limits(compress(m), "theta_")
say("profile of a correlation without variance", !all(is.na(ours["cor_x.(Intercept)|g", 1:2])), 0)
for (m in list(kept[["crossed REML"]]$m, lmer(strength ~ 1 + (1 | batch) + (1 | sample), Pastes), kept[["weights REML"]]$m)) {
  m <- update(m, . ~ 1 + . - cses)
  for (g in names(VarCorr(m))) {
    say(paste("profile ICC", g), icc_limits(compress(m), g) - icc_profile(m, g), 1e-6)
    reml <- icc_limits(compress(m), g, reml = TRUE) - icc_profile(m, g, reml = TRUE)
    say(paste("profile ICC by REML", g), reml, 1e-6)
  }
}

# By REML, against the two mean squares of a balanced design, which are independent chi-squares.
m <- lmer(Yield ~ 1 + (1 | Batch), Dyestuff)
squares <- anova(lm(Yield ~ Batch, Dyestuff))
restricted <- function(tau2, sigma2) {
  between <- sigma2 + 5 * tau2
  squares$Df[1L] * log(between) + squares$Df[2L] * log(sigma2) +
    squares$"Sum Sq"[1L] / between + squares$"Sum Sq"[2L] / sigma2
}
least <- restricted(diff(rev(squares$"Mean Sq")) / 5, squares$"Mean Sq"[2L])
over <- function(held) {
  optimize(held, c(100, 20000), tol = 1e-6)$objective - least - qchisq(0.95, 1)
}
ours <- profile_limits(compress(m), reml = TRUE)
for (end in c("lower", "upper")) {
  s <- ours[["sd_(Intercept)|Batch", end]]
  say(paste("profile of an SD by REML,", end), over(function(sigma2) restricted(s^2, sigma2)), 1e-5)
  sigma <- ours[["sigma", end]]
  say(paste("profile of sigma by REML,", end), optimize(function(tau2) restricted(tau2, sigma^2), c(0, 20000),
    tol = 1e-6)$objective - least - qchisq(0.95, 1), 1e-5)
  rho <- icc_limits(compress(m), "Batch", reml = TRUE)[[end]]
  say(paste("profile of the ICC by REML,", end), over(function(sigma2) restricted(sigma2 * rho / (1 - rho), sigma2)), 1e-5)
}
say("profile of fixed effects, by ML all the same", unlist(ours["(Intercept)", 1:2]) -
  unlist(profile_limits(compress(m))["(Intercept)", 1:2]), 1e-8)

# A limit of 0 where the profile does not fall far enough, and the limit of a fixed effect against a
# direct minimisation over theta (its profile runs along SD > 0 away from the estimate, where SD = 0).
set.seed(4)
flat <- data.frame(g = gl(10, 5), y = rnorm(50), x = rnorm(50), z = rnorm(50))
m <- quiet(lmer(y ~ x + (1 | g), flat, REML = FALSE))
ours <- profile_limits(compress(m), c("sd_(Intercept)|g", "(Intercept)"))
say("lower limit 0", c(ours$lower[1L], !ours$lower_bounded[1L]), 0)
least <- function(b) {
  f <- lmer(I(y - b) ~ 0 + x + (1 | g), flat, REML = FALSE, devFunOnly = TRUE)
  optimize(f, c(0, 2), tol = 1e-10)$objective
}
say("limit of the intercept", least(ours$lower[2L]) - deviance(m) - qchisq(0.95, 1), 1e-5)

# --- other optimizers -----------------------------------------------------------------------------

for (id in c("sleepstudy ML", "hsb REML")) {
  k <- kept[[id]]
  for (name in c("nloptwrap", "bobyqa", "Nelder_Mead")) {
    found <- quiet(optimum_by(k$problem, name))
    theirs <- quiet(update(k$m, control = lmerControl(optimizer = name, calc.derivs = FALSE)))
    say(paste("other optimizers", name, id), found$criterion - crit(theirs), 1e-4)
    say(paste("other optimizers' theta", name, id), found$theta - getME(theirs, "theta"), 1e-3)
  }
}

# --- cluster-robust errors ------------------------------------------------------------------------

# CR2 as clubSandwich has it from all rows, where a group has a coefficient of its own too.
three$alone <- as.numeric(three$school == "3")
robust <- list(
  sleepstudy = list(m = kept[["sleepstudy REML"]]$m, by = "Subject"),
  hsb = list(m = kept[["hsb ML"]]$m, by = "school"),
  uncorrelated = list(m = kept[["uncorrelated REML"]]$m, by = "school"),
  three_levels = list(m = kept[["three_levels REML"]]$m, by = "school"),
  alone = list(m = quiet(lmer(y ~ x + alone + (1 + x | school), three)), by = "school")
)
for (name in names(robust)) {
  m <- robust[[name]]$m
  g <- m@flist[[robust[[name]]$by]]
  ours <- robust_tests_of(m, compress(m), robust[[name]]$by)
  theirs <- clubSandwich::coef_test(m, clubSandwich::vcovCR(m, cluster = g, type = "CR2"), test = "Satterthwaite")
  say(paste("robust SE", name), ours$SE / theirs$SE - 1, 1e-9)
  say(paste("robust df", name), ours$df_Satt / theirs$df_Satt - 1, 1e-6)
  say(paste("robust p", name), ours$p_Satt - theirs$p_Satt, 1e-9)
  x <- getME(m, "X")
  y <- getME(m, "y")
  all <- lm(y ~ 0 + x)
  pooled <- pooled_rows(compress(m))
  say(paste("robust, OLS", name), coef(pooled)[colnames(x)] / coef(all) - 1, 1e-9)
  say(paste("robust, OLS errors", name), diag(vcov(pooled)) / diag(vcov(all)) - 1, 1e-9)
  all <- as.matrix(clubSandwich::vcovCR(all, cluster = g, type = "CR2"))
  say(paste("robust OLS", name), (all - robust_pooled(compress(m), robust[[name]]$by)) / max(diag(all)), 1e-10)
}
