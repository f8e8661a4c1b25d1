//! A job: create, run, look, cancel, delete.
use google_cloud_gax::{
    error::rpc::Code,
    paginator::{ItemPaginator as _, Paginator as _},
};
use google_cloud_lro::{Poller as _, PollingResult};
use google_cloud_run_v2::{
    client::{Executions, Jobs, Tasks},
    model::{
        EnvVar, ExecutionTemplate, Job, TaskTemplate,
        condition::State,
        run_job_request::{Overrides, overrides::ContainerOverride},
    },
};

use crate::{Checked, Cloud, PARENT, quickly, refused, same};

pub(crate) async fn walk(cloud: &mut Cloud) -> Checked {
    let client = Jobs::builder()
        .with_endpoint(cloud.endpoint())
        .with_credentials(cloud.credentials()?)
        .with_polling_backoff_policy(quickly())
        .build()
        .await?;
    let executions = Executions::builder()
        .with_endpoint(cloud.endpoint())
        .with_credentials(cloud.credentials()?)
        .with_polling_backoff_policy(quickly())
        .build()
        .await?;
    let tasks = Tasks::builder().with_endpoint(cloud.endpoint()).with_credentials(cloud.credentials()?).build().await?;
    let name = format!("{PARENT}/jobs/judged");
    let job = |cloud: &Cloud, env: &[(&str, &str)]| {
        let template = TaskTemplate::new().set_containers([cloud.container(env)]).set_max_retries(0);
        Job::new().set_template(ExecutionTemplate::new().set_task_count(2).set_template(template))
    };

    cloud
        .check("a job is created", async |cloud| {
            let create =
                client.create_job().set_parent(PARENT).set_job_id("judged").set_job(job(cloud, &[("EXIT", "0")]));
            let made = create.poller().until_done().await?;
            same((made.name.as_str(), made.execution_count), (&*name, 0))?;
            same(made.terminal_condition.map(|one| one.state), Some(State::ConditionSucceeded))
        })
        .await;
    cloud
        .check("it runs, and its poller ends with the execution", async |_| {
            let done = client.run_job().set_name(&name).poller().until_done().await?;
            same((done.task_count, done.succeeded_count, done.failed_count), (2, 2, 0))?;
            same(done.completion_time.is_some(), true)?;
            let mut pages = tasks.list_tasks().set_parent(&done.name).set_page_size(1).by_page();
            let mut codes = Vec::new();
            while let Some(page) = pages.next().await {
                let page = page?.tasks;
                codes.extend(page.into_iter().map(|task| task.last_attempt_result.map(|result| result.exit_code)));
            }
            same(codes, vec![Some(0), Some(0)])?;
            same(client.get_job().set_name(&name).send().await?.execution_count, 1)
        })
        .await;
    cloud
        .check("a run with other values fails", async |_| {
            let exit = ContainerOverride::new().set_env([EnvVar::new().set_name("EXIT").set_value("4")]);
            let overrides = Overrides::new().set_task_count(1).set_container_overrides([exit]);
            let run = client.run_job().set_name(&name).set_overrides(overrides).poller().until_done().await;
            same(run.is_err(), true)?;
            let newest = executions.list_executions().set_parent(&name).by_item().next().await.ok_or("none")??;
            same((newest.task_count, newest.failed_count), (1, 1))?;
            let task = tasks.list_tasks().set_parent(&newest.name).by_item().next().await.ok_or("none")??;
            same(task.last_attempt_result.map(|result| result.exit_code), Some(4))
        })
        .await;
    cloud
        .check("a run is cancelled", async |cloud| {
            let change = job(cloud, &[]).set_name(&name);
            client.update_job().set_job(change).poller().until_done().await?;
            let mut run = client.run_job().set_name(&name).poller();
            let running = match run.poll().await {
                Some(PollingResult::InProgress(Some(execution))) => execution.name,
                other => return Err(format!("it does not run: {other:?}").into()),
            };
            let cancelled = executions.cancel_execution().set_name(&running).poller().until_done().await?;
            same(cancelled.name.as_str(), &running)?;
            // How a cancelled run's operation ends is its own affair.
            let _ = run.until_done().await;
            same(executions.get_execution().set_name(&running).send().await?.cancelled_count, 2)
        })
        .await;
    cloud
        .check("it is deleted", async |cloud| {
            let again = client.create_job().set_parent(PARENT).set_job_id("judged").set_job(job(cloud, &[]));
            refused(again.send().await, Code::AlreadyExists, "already exists")?;
            let gone = client.delete_job().set_name(&name).poller().until_done().await?;
            same(gone.name.as_str(), &name)?;
            refused(client.get_job().set_name(&name).send().await, Code::NotFound, "")
        })
        .await;
    Ok(())
}
