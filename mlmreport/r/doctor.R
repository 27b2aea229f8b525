# What `mlmreport doctor` asks a fresh R.
#
# One line a part: name, "ok" or "missing" or "fault", version, library, detail, separated by tabs.
# Each line is written as soon as it is known, so that a crash shows where it happened.

write_finding <- function(name, status = "ok", version = "", library = "", detail = "") {
  fields <- c(name, status, version, library, detail)
  cat(paste(gsub("\\s+", " ", fields), collapse = "\t"), "\n", sep = "")
  flush(stdout())
}

examine_package <- function(name) {
  library <- dirname(system.file(package = name))
  if (!nzchar(library)) {
    return(write_finding(name, "missing"))
  }
  version <- ""
  tryCatch(
    {
      version <- utils::packageDescription(name, fields = "Version")
      loadNamespace(name)
      write_finding(name, "ok", version, library)
    },
    error = function(e) write_finding(name, "fault", version, library, conditionMessage(e))
  )
}

# The REML criterion of Dyestuff; a Matrix that lme4 was not built for shows only in a fit.
examine_fit <- function() {
  tryCatch(
    {
      fit <- lme4::lmer(Yield ~ 1 + (1 | Batch), data = lme4::Dyestuff)
      write_finding("fit", "ok", sprintf("%.10f", lme4::REMLcrit(fit)))
    },
    error = function(e) write_finding("fit", "fault", detail = conditionMessage(e))
  )
}

examine_machine <- function(packages) {
  write_finding("R", "ok", paste(R.version$major, R.version$minor, sep = "."), R.home())
  write_finding("BLAS", "ok", paste("LAPACK", La_version()), detail = extSoftVersion()[["BLAS"]])
  for (name in packages) {
    examine_package(name)
  }
  if (requireNamespace("lme4", quietly = TRUE)) {
    examine_fit()
  }
}
