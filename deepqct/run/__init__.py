"""A run: parameters resolved, jobs run by Snakemake, the record written.

parameters.py  the parameters of a stage, read from its notebook
init.py        a folder to work in without a checkout
stage.py       what every notebook does first and last
preflight.py   checks of values, cohort and machine before a run begins
plan.py        preset and overrides resolved into jobs (presets/)
machine.py     processor, memory, packages and commit, without a name of host or person
inputs.py      what is read of a cohort, by the names under which the record keeps hashes
shares.py      what each job is given, and what this machine has
cost.py        what a run will take, before it begins (rates.json)
written.py     which files a run wrote, and their hashes
record.py      run.json: what was run, on which inputs, with which parameters and versions
watch.py       a job at work: known by a file, watched for its memory, ended with its run
lost.py        jobs that ended without a word, and what helps
told.py        what a run folder keeps of an error: no file of the cohort, no id
jobs.py        one job's notebook executed and kept; the hash of the code that it imports
parts.py       parts of a job that run before its notebook: batches of scans, networks of a fold
restore.py     stacks and weights that were removed, made anew
changed.py     scans of which the file changed during a run
clock.py       files of a run from before a clock was set back
alone.py       a run folder for one process at a time
workflow.py    the jobs that are out of date are run (Snakefile, profiles/)
integrity.py   whether files and cohort are still what the run wrote and read
compare.py     two runs beside each other: by how much they differ
repetition.py  a finished run made anew beside itself, and compared
tidying.py     what of a run may be deleted, and what is lost by it
commands.py    plan, verify, reproduce and tidy on the command line
example.py     a small finished run of virtual women, to try things out on
app.py         explorer and review of a run as pages without code, served on this machine alone
server.py      the server of these pages, with no more than they need
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
