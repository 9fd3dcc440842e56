/* inspect, cpu and version: the short reports. */
#include "cli/io.h"
#include "text/json.h"
#include "version.h"

/* One line per member; lists of plain values on one line, objects indented. */
static void print_human(const json_t *o, int indent)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)o, key, value) {
        printf("%*s%s:", indent, "", key);
        if (json_is_object(value)) {
            printf("\n");
            print_human(value, indent + 2);
            continue;
        }
        if (json_is_string(value)) {
            printf(" %s\n", json_string_value(value));
            continue;
        }
        char *text = qg_json_dump_digits(value, 9);
        printf(" %s\n", text ? text : "");
        qg_free(text);
    }
}

/* Prints a report that came as JSON; takes it over. */
static int print_report(const cli_args *args, char *json)
{
    json_t *o = NULL;
    if (args->json) {
        printf("%s\n", json);
    } else if (qg_json_parse(qg_str(json), 0, &o, NULL) == QG_OK) {
        print_human(o, 0);
        json_decref(o);
    }
    qg_free(json);
    return EXIT_DONE;
}

int cmd_inspect(const cli_args *args)
{
    char *json;
    qg_err err;
    const char *model = args->n_positional ? args->positional[0] : args->model;
    qg_status rc = qg_inspect(model, &json, &err);

    if (json)
        print_report(args, json);
    return rc == QG_OK ? EXIT_DONE : cli_fail(&err);
}

int cmd_cpu(const cli_args *args)
{
    char *json;
    qg_err err;
    if (qg_cpu_report(args->cpu, args->measure, &json, &err) != QG_OK)
        return cli_fail(&err);
    return print_report(args, json);
}

int cmd_version(const cli_args *args)
{
    if (!args->json) {
        printf("qguard %s (commit %s, %s)\n", QG_VERSION, QG_COMMIT, QG_BUILD);
        return EXIT_DONE;
    }
    json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "version", QG_VERSION, "commit", QG_COMMIT,
                          "build", QG_BUILD, "compiler", __VERSION__);
    cli_print_json(o);
    json_decref(o);
    return EXIT_DONE;
}
