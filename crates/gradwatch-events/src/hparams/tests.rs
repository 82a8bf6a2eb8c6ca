use super::*;

/// The message as TensorBoard's plugin stores it, in hexadecimal.
fn hex(message: Hparams) -> String {
    let (metadata, _) = message.into_tensor();
    metadata.plugin_data.unwrap().content.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn secs(secs: f64) -> WallTime {
    WallTime::from_secs(secs).unwrap()
}

fn hparam(name: &str, display_name: &str, domain: Domain) -> Hparam {
    Hparam { name: name.into(), display_name: display_name.into(), domain }
}

fn texts(texts: &[&str]) -> Domain {
    Domain::Discrete(texts.iter().map(|&text| HparamValue::Text(text.into())).collect())
}

fn numbers(numbers: &[f64]) -> Domain {
    Domain::Discrete(numbers.iter().map(|&number| HparamValue::Number(number)).collect())
}

/// With TensorBoard 2.21:
///
/// depth = api_pb2.HParamInfo(name="depth", display_name="d", type=api_pb2.DATA_TYPE_FLOAT64, differs=True)
/// depth.domain_discrete.extend([4.0, 8.0])
/// init = api_pb2.HParamInfo(name="init", type=api_pb2.DATA_TYPE_STRING)
/// init.domain_discrete.extend(["ü"])
/// on = api_pb2.HParamInfo(name="on", type=api_pb2.DATA_TYPE_BOOL, differs=True)
/// on.domain_discrete.extend([False, True])
/// lr = api_pb2.HParamInfo(name="lr", type=api_pb2.DATA_TYPE_FLOAT64, differs=True)
/// lr.domain_interval.min_value, lr.domain_interval.max_value = 0.0, 0.5
/// accuracy = api_pb2.MetricInfo(name=api_pb2.MetricName(tag="accuracy/validation"), display_name="accuracy")
/// loss = api_pb2.MetricInfo(name=api_pb2.MetricName(tag="loss"))
/// data = plugin_data_pb2.HParamsPluginData(experiment=api_pb2.Experiment(description="**q**", time_created_secs=1.5,
///     hparam_infos=[depth, init, on, lr], metric_infos=[accuracy, loss]))
/// metadata.create_summary_metadata(data).plugin_data.content.hex()
#[test]
fn an_experiment_has_the_bytes_of_tensorboards_own() {
    let flags = Domain::Discrete(vec![HparamValue::Bool(false), HparamValue::Bool(true)]);
    let metric = |tag: &str, display_name: &str| Metric { tag: tag.into(), display_name: display_name.into() };
    let experiment = Hparams::Experiment(Experiment {
        description: "**q**".into(),
        created: secs(1.5),
        hparams: vec![
            hparam("depth", "d", numbers(&[4.0, 8.0])),
            hparam("init", "", texts(&["ü"])),
            hparam("on", "", flags),
            hparam("lr", "", Domain::Interval { min: 0.0, max: 0.5 }),
        ],
        metrics: vec![metric("accuracy/validation", "accuracy"), metric("loss", "")],
    });
    assert_eq!(
        hex(experiment),
        "12a0010a052a2a712a2a19000000000000f83f22260a05646570746812016420032a160a09110000000000001040\
         0a09110000000000002040380122100a04696e697420012a060a041a02c3bc22120a026f6e20022a080a0220000a\
         022001380122130a026c722003320911000000000000e03f38012a210a15121361636375726163792f76616c6964\
         6174696f6e1a0861636375726163792a080a0612046c6f7373"
    );
}

/// start = plugin_data_pb2.SessionStartInfo(group_name="g", start_time_secs=2.5)
/// start.hparams["a"].number_value, start.hparams["b"].string_value, start.hparams["c"].bool_value = 8.0, "", False
/// end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_FAILURE, end_time_secs=3.5)
#[test]
fn a_session_has_the_bytes_of_tensorboards_own() {
    let values =
        [("c", HparamValue::Bool(false)), ("a", HparamValue::Number(8.0)), ("b", HparamValue::Text(String::new()))];
    let values = values.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let start = Hparams::SessionStart(SessionStart { values, group: "g".into(), started: secs(2.5) });
    assert_eq!(
        hex(start),
        "1a2e0a0e0a016112091100000000000020400a070a016212021a000a070a016312022000220167290000000000000440"
    );
    let end = Hparams::SessionEnd(SessionEnd { status: Status::Failure, ended: secs(3.5) });
    assert_eq!(hex(end), "220b0802110000000000000c40");
}

#[test]
fn numbers_that_are_not_finite_are_no_values_to_filter_by() {
    let values = |domain: Domain| hparam("lr", "", domain).into_proto();
    let proto = values(numbers(&[f64::NAN, 1.0, f64::INFINITY]));
    assert_eq!(proto.domain, values(numbers(&[1.0])).domain);
    assert_eq!((proto.r#type(), proto.differs), (DataType::Float64, true));
}

#[test]
fn an_hparam_differs_if_it_has_two_values() {
    let differs = |domain: Domain| hparam("a", "", domain).into_proto().differs;
    assert!(!differs(texts(&[])) && !differs(texts(&["a", "a"])) && differs(texts(&["a", "a", "b"])));
    assert!(!differs(Domain::Interval { min: 1.0, max: 1.0 }) && differs(Domain::Interval { min: 1.0, max: 2.0 }));
}
