//! The built program: runs it as a user does, and looks at its files, messages, and exit codes.
//!
//! Training
//! - `run_folder`: the files of a run agree with each other, and a run ends in every way that it can end
//! - `families`: every family of models trains, is measured in full, and resumes bit for bit
//! - `reproducible`: the same seed gives the same run, for any monitoring and loading settings
//! - `initialized_runs`: every initialization trains on real images, and is fitted to data once
//! - `weights`: runs start from existing weights, and train their head first
//! - `torchscript`: models from TorchScript files train, resume, and are inspected
//! - `many_classes`: output grows linearly with thousands of classes
//!
//! Data and other input
//! - `bad_input`: invalid input gives one clear line, a specific exit code, and no partial output
//! - `data_files`: datasets as users have them, with files that do not decode or are no files
//! - `identity`: a run notices images and classes other than those it was trained on
//! - `subset`: runs on part of the training images have the same part for every seed and after a resume
//! - `multi_label`: images of several classes or none train, resume, and are predicted class by class
//! - `hostile_names`: names with control characters or invalid text reach no terminal
//! - `special_files`: links, pipes, and endless files change nothing outside of a run and hang nothing
//!
//! Interruptions
//! - `checkpoints`: signals, damage, and failures of the disk leave a run that resumes
//! - `kept_checkpoints`: retention keeps the right checkpoints, and exports weights from any of them
//! - `crash`: runs killed at critical places resume bit-identical to an uninterrupted run
//! - `failing_disk`: full disks, read-only disks, and clocks that go backward lose no complete file
//! - `launcher`: `--ranks` starts its ranks, and takes them along when it ends
//! - `signals`: signals, closed terminals, and closed pipes end a run with all of its data
//!
//! Several runs
//! - `study`: a grid of runs trains to the same results however often it is interrupted
//!
//! Uses of a run
//! - `inspect`: models with a known outcome are judged before their first step
//! - `find_lr`: suggested learning rates train better than others, and hopeless models get the reason
//! - `diagnosis`: nets with a known outcome are judged from their first step
//! - `compare`: runs are compared, and nothing is written without a request
//! - `healthy_models`: every architecture at its defaults, and every example config, is judged healthy
//! - `inference`: predict, explain, evaluate, and export answer alike
//! - `output_files`: nothing of the user's is replaced without a request
//!
//! Repair
//! - `repair`: a run that goes wrong changes its config and trains on, and a healthy one is left alone
//! - `repair_crash`: a run that is killed while it repairs itself ends as one that was not
//!
//! Event files
//! - `tensorboard_reads_events`: TensorBoard reads all that the writer wrote
//! - `hparams`: TensorBoard's HParams page shows the runs of a study, which stay runs as any other
//! - `bad_events`: damaged event files give one clear line and all readable records
//!
//! Documentation
//! - `docs`: links resolve, and commands exist with their options
//!
//! Most of these tests only start processes. A few also train or build a model in this process; those take the lock of
//! `harness::exclusive`, because the process has one random generator.

mod bad_events;
mod bad_input;
mod checkpoints;
mod compare;
mod crash;
mod data_files;
mod diagnosis;
mod docs;
mod failing_disk;
mod families;
mod find_lr;
mod harness;
mod healthy_models;
mod hostile_names;
mod hparams;
mod identity;
mod images;
mod inference;
mod initialized_runs;
mod inspect;
mod kept_checkpoints;
mod launcher;
mod many_classes;
mod multi_label;
mod output_files;
mod ranks;
mod repair;
mod repair_crash;
mod reproducible;
mod run_folder;
mod signals;
mod special_files;
mod study;
mod subset;
mod tensorboard_reads_events;
mod torchscript;
mod weights;
